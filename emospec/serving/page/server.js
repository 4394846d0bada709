// Requests to the page's own server, and what it says when it cannot answer. Holds the token, in memory only.

const OF_A_FILE = ["unreadable", "too_long", "interrupted"]; // errors that begin with its name, which stays as it is

let token = "";

/** Bear a token from now on; what no header can hold is one that no server has. */
export function useToken(given) {
  token = given.trim().replace(/[^\x21-\x7e]/g, "?");
}

/** What went wrong: `code` and `fix` are the server's; `retryAfter` is in seconds, 0 where trying again is no use. */
export class Trouble extends Error {
  constructor(code, message, fix = "", retryAfter = 0) {
    super(message);
    Object.assign(this, { code, fix, retryAfter });
  }
}

/**
 * The answer to GET, or to POST where there is a form or JSON to send; Trouble where there is none. `onSent(bytes, all)`
 * is told how much of a form is sent.
 */
export async function ask(path, { form, json, query = {}, signal, onSent } = {}) {
  const url = new URL(path, document.baseURI);
  for (const [key, value] of Object.entries(query)) url.searchParams.set(key, value);
  let response;
  try {
    const headers = new Headers(token ? { Authorization: `Bearer ${token}` } : {});
    if (json) headers.set("Content-Type", "application/json");
    response = form
      ? await post(url, form, headers, signal, onSent)
      : await fetch(url, { method: json ? "POST" : "GET", body: json && JSON.stringify(json), headers, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Trouble("unreachable", "The server does not answer.", "See whether emospec serve still runs.", 1);
  }
  if (!response.ok) throw await troubleOf(response);
  return response;
}

/** As `fetch`, which cannot tell how much of a body is sent. */
function post(url, form, headers, signal, onSent) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const stop = () => request.abort();
    const stopped = () => reject(new DOMException("no longer wanted", "AbortError"));
    if (signal?.aborted) return stopped();
    signal?.addEventListener("abort", stop);
    request.open("POST", url);
    request.responseType = "blob";
    headers.forEach((value, name) => request.setRequestHeader(name, value));
    request.upload.onprogress = ({ loaded, total }) => onSent?.(loaded, total);
    request.onload = () => {
      const lines = request.getAllResponseHeaders().trim().split("\r\n").map((line) => line.split(/: (.*)/, 2));
      resolve(new Response(request.response, { status: request.status, headers: new Headers(lines) }));
    };
    request.onabort = stopped;
    request.onerror = () => reject(new TypeError("the connection failed"));
    request.onloadend = () => signal?.removeEventListener("abort", stop);
    request.send(form);
  });
}

export async function askJson(path, options = {}) {
  const answer = await (await ask(path, options)).json();
  options.signal?.throwIfAborted(); // it may have come just before
  return answer;
}

async function troubleOf(response) {
  const wait = Number(response.headers.get("Retry-After")) || (response.status >= 500 ? 1 : 0);
  try {
    const { code, message, fix } = (await response.json()).error;
    const said = OF_A_FILE.includes(code) ? ended(message) : sentence(message);
    if (response.status !== 401) return new Trouble(code, said, sentence(fix), wait);
    return token
      ? new Trouble("unauthorized", "This token is wrong.", "Give the one that the server was started with.")
      : new Trouble("unauthorized", "This server wants a token.", "Give it here; it is kept until the page is closed.");
  } catch {
    return new Trouble("unexpected", `The server answered ${response.status}, without saying why.`, "", wait);
  }
}

const ended = (text) => (/[.!?]$/.test(text) ? text : `${text}.`);

/** A message of the server as a sentence of the page. */
export const sentence = (text) => ended(text[0].toUpperCase() + text.slice(1));

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
