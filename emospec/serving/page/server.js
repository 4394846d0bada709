// Requests to the page's own server, and its errors. Holds the token, in memory only.

// Their messages begin with the name of a file, which is not capitalised.
const FILE_ERRORS = ["unreadable", "too_long", "interrupted"];

let token = "";

/** Send a token from now on. Characters that no header can hold are replaced: no server has such a token. */
export function useToken(given) {
  token = given.trim().replace(/[^\x21-\x7e]/g, "?");
}

/** An error: `code` and `fix` are the server's; `retryAfter` is in seconds, 0 if trying again is no use. */
export class Trouble extends Error {
  constructor(code, message, fix = "", retryAfter = 0) {
    super(message);
    Object.assign(this, { code, fix, retryAfter });
  }
}

/**
 * Return the answer to GET, or to POST if there is a form or JSON to send; throw Trouble if there is none.
 * `onSent(bytes, all)` is called with how much of a form is sent.
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

/** Send a form as `fetch` does, which cannot report how much of a body is sent. */
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
  // The answer may have come just before it was cancelled.
  options.signal?.throwIfAborted();
  return answer;
}

async function troubleOf(response) {
  const wait = Number(response.headers.get("Retry-After")) || (response.status >= 500 ? 1 : 0);
  try {
    const { code, message, fix } = (await response.json()).error;
    const text = FILE_ERRORS.includes(code) ? ended(message) : sentence(message);
    if (response.status !== 401) return new Trouble(code, text, sentence(fix), wait);
    return token
      ? new Trouble("unauthorized", "This token is wrong.", "Give the one that the server was started with.")
      : new Trouble("unauthorized", "This server wants a token.", "Give it here; it is kept until the page is closed.");
  } catch {
    return new Trouble("unexpected", `The server answered ${response.status}, without saying why.`, "", wait);
  }
}

const ended = (text) => (/[.!?]$/.test(text) ? text : `${text}.`);

/** Return a message of the server as a sentence. */
export const sentence = (text) => ended(text[0].toUpperCase() + text.slice(1));

/** Open a stream: `onWindow` is called with the prediction for each window, and `onLost` if the stream fails. */
export function openStream(sampleRate, onWindow, onLost) {
  const url = new URL("v1/stream", document.baseURI);
  url.protocol = url.protocol.replace("http", "ws");
  url.search = new URLSearchParams({ sample_rate: sampleRate, encoding: "s16le" });
  // A page's socket can set no header but this one.
  const socket = new WebSocket(url, token ? ["bearer", token] : []);
  const waiting = [];
  const send = (data) => {
    if (socket.readyState === WebSocket.OPEN) socket.send(data);
    else if (socket.readyState === WebSocket.CONNECTING) waiting.push(data);
  };
  socket.onopen = () => waiting.splice(0).forEach(send);
  socket.onmessage = ({ data }) => {
    const message = JSON.parse(data);
    if (message.type === "moment") onWindow(message);
  };
  socket.onclose = onLost;
  return { send, end: () => { socket.onmessage = socket.onclose = null; send("end"); } };
}
