// Requests to the page's own server, and what it says when it cannot answer. Holds the token, in memory only.

let token = "";

export const useToken = (given) => { token = given; };

/** What went wrong: `code` and `fix` are the server's; `retryAfter` is in seconds, 0 where trying again is no use. */
export class Trouble extends Error {
  constructor(code, message, fix = "", retryAfter = 0) {
    super(message);
    Object.assign(this, { code, fix, retryAfter });
  }
}

/** The answer to GET, or to POST where there is a form; Trouble where there is none. */
export async function ask(path, { form, query = {}, signal } = {}) {
  const url = new URL(path, document.baseURI);
  for (const [key, value] of Object.entries(query)) url.searchParams.set(key, value);
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  let response;
  try {
    response = await fetch(url, { method: form ? "POST" : "GET", body: form, headers, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Trouble("unreachable", "The server does not answer.", "See whether emospec serve still runs.", 1);
  }
  if (!response.ok) throw await troubleOf(response);
  return response;
}

export const askJson = async (path, options) => (await ask(path, options)).json();

async function troubleOf(response) {
  const wait = Number(response.headers.get("Retry-After")) || (response.status >= 500 ? 1 : 0);
  try {
    const { code, message, fix } = (await response.json()).error;
    return new Trouble(response.status === 401 ? "unauthorized" : code, sentence(message), sentence(fix), wait);
  } catch {
    return new Trouble("unexpected", `The server answered ${response.status}, without saying why.`, "", wait);
  }
}

/** A message of the server as a sentence of the page. */
export function sentence(text) {
  const ended = /[.!?]$/.test(text) ? text : `${text}.`;
  return ended[0].toUpperCase() + ended.slice(1);
}

/** A socket that takes samples and tells what the server hears in them; where it fails, `onLost` is told. */
export function listen(sampleRate, onMoment, onLost) {
  const url = new URL("v1/stream", document.baseURI);
  url.protocol = url.protocol.replace("http", "ws");
  url.search = new URLSearchParams({ sample_rate: sampleRate, encoding: "s16le" });
  const socket = new WebSocket(url, token ? ["bearer", token] : []); // a page's socket can set no other header
  const waiting = [];
  const send = (data) => {
    if (socket.readyState === WebSocket.OPEN) socket.send(data);
    else if (socket.readyState === WebSocket.CONNECTING) waiting.push(data);
  };
  socket.onopen = () => waiting.splice(0).forEach(send);
  socket.onmessage = ({ data }) => {
    const said = JSON.parse(data);
    if (said.type === "moment") onMoment(said);
  };
  socket.onclose = onLost;
  return { send, end: () => { socket.onmessage = socket.onclose = null; send("end"); } };
}
