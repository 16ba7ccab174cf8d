// Talking to the node. The cookie goes along by itself; this page never sees it.

/** An answer that is not the one asked for. */
export class Problem extends Error {
  constructor(status, document) {
    super(document.detail ?? 'the node did not answer as it should');
    this.status = status;
    this.code = document.code;
    this.hint = document.hint;
  }
}

/** The problem and its remedy, in one text. Commands in it are between backticks. */
export function explain(problem) {
  const what = problem instanceof Problem ? problem.message : 'The node does not answer.';
  return problem.hint ? `${what.replace(/\.$/, '')}. Next: ${problem.hint}` : what;
}

const signedOut = new EventTarget();

/** Calls back when the node does not know this browser. */
export const onSignedOut = (call) => signedOut.addEventListener('out', call);

export async function api(method, path, body, more = {}) {
  const headers = body === undefined ? {} : { 'content-type': 'application/json' };
  const answer = await fetch(path, { method, headers, body: body && JSON.stringify(body), ...more });
  if (answer.ok) return answer.status === 204 ? null : whole(answer, path);
  const problem = new Problem(answer.status, await answer.json().catch(() => ({})));
  if (answer.status === 401) signedOut.dispatchEvent(new Event('out'));
  throw problem;
}

/** A document with tasks. A number that would be rounded here stays as it is written: somebody may decide by it. */
const exact = (text) => JSON.parse(text, (_, value, context) => {
  const written = context?.source;
  const isRounded = typeof value === 'number' && written !== undefined && JSON.rawJSON
    && String(value) !== written && !/^-?\d{1,15}\.0$/.test(written);
  return isRounded ? JSON.rawJSON(written) : value;
});

async function whole(answer, path) {
  const document = path.startsWith('/v1/tasks') ? exact(await answer.text()) : await answer.json();
  return { document, truncated: answer.headers.get('nexus-truncated') === 'true' };
}

export const ask = async (path, more) => (await api('GET', path, undefined, more)).document;

export const send = async (method, path, body) => (await api(method, path, body))?.document;

/** Sends the bytes of a file. */
export const sendFile = async (path, file) => (await api('PUT', path, undefined, { body: file, headers: { 'content-type': 'application/octet-stream' } }))?.document;

export const memoryPath = (id) => `/v1/memories/${encodeURIComponent(id)}`;

export const taskPath = (id) => `/v1/tasks/${encodeURIComponent(id)}`;

/** Trades the token for the cookie. The token is not kept. */
export async function signIn(token) {
  const answer = await fetch('/v1/session', { method: 'POST', headers: { authorization: `Bearer ${token}` } });
  if (!answer.ok) throw new Problem(answer.status, await answer.json().catch(() => ({})));
}

const WAIT_MS = [500, 1_000, 2_000, 5_000];

/**
 * Follows changes over a WebSocket, or by long polls where none comes about. After a break it goes
 * on where it was. `again` is called when that is not possible, and everything must be read anew.
 */
export function follow({ change, state, again }) {
  let cursor = null;
  let failures = 0;
  let stopped = false;
  let socket = null;

  const pause = () => new Promise((done) => { setTimeout(done, WAIT_MS[Math.min(failures++, WAIT_MS.length - 1)]); });

  /** Where to begin, and whether the node is there at all. */
  async function begin() {
    try {
      const from = cursor ? `&from=${encodeURIComponent(cursor)}` : '';
      const { changes, cursor: next } = await ask(`/v1/events?wait=0s${from}`);
      changes.forEach(change);
      cursor = next;
    } catch (problem) {
      if (problem.status !== 422) throw problem;
      cursor = null;
      again();
      await begin();
    }
  }

  /** Resolves when the socket is over; with whether it ever was one. */
  function talk() {
    return new Promise((over) => {
      let opened = false;
      socket = new WebSocket(`${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/v1/events?from=${encodeURIComponent(cursor)}`);
      socket.onopen = () => { opened = true; failures = 0; state(true); };
      socket.onmessage = ({ data }) => {
        const changed = JSON.parse(data);
        ({ cursor } = changed);
        change(changed);
      };
      socket.onclose = () => over(opened);
    });
  }

  async function poll() {
    state(true);
    const { changes, cursor: next } = await ask(`/v1/events?wait=25s&from=${encodeURIComponent(cursor)}`);
    changes.forEach(change);
    cursor = next;
  }

  (async () => {
    let sockets = true;
    while (!stopped) {
      try {
        await begin();
        if (sockets) sockets = (await talk()) || failures < 3;
        else while (!stopped) await poll();
      } catch (problem) {
        if (problem.status === 401) return;
      }
      if (stopped) return;
      state(false);
      await pause();
    }
  })();

  return () => { stopped = true; socket?.close(); };
}

const TASK_STATES = [
  'awaiting_approval', 'pending', 'assigned', 'running', 'succeeded', 'failed', 'cancelled', 'rejected', 'unknown',
];

/**
 * Follows tasks. `again` is called whenever words may have been missed, at the beginning, too. A tab in the background
 * lets go: browsers open few connections to a host, and all tabs share them.
 */
export function followTasks({ task, again }) {
  let source = null;

  const leave = () => {
    source?.close();
    source = null;
  };

  function join() {
    if (document.hidden) return leave();
    if (source && source.readyState !== EventSource.CLOSED) return;
    source = new EventSource('/v1/tasks/events');
    source.addEventListener('open', again);
    source.addEventListener('missed', again);
    for (const state of TASK_STATES) source.addEventListener(state, ({ data }) => task(exact(data)));
  }

  join();
  document.addEventListener('visibilitychange', join);
  // an answer that is no stream ends it for good
  const look = setInterval(join, 3_000);
  return () => {
    clearInterval(look);
    document.removeEventListener('visibilitychange', join);
    leave();
  };
}
