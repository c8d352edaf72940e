// An axios instance with the interceptors that guides to JWT in apps describe: it
// attaches the access token, and answers a 401 with one refresh and one retry,
// however many requests are under way.

import axios from "axios";

const timeout = 60_000; // milliseconds

// createAPI returns an instance for one API. storage has get, set and clear, and
// keeps {access_token, refresh_token}; sessionExpired is called once when the
// server has ended the session.
export function createAPI({ baseURL, storage, sessionExpired = () => {} }) {
  const auth = axios.create({ baseURL: `${baseURL}/auth`, timeout }); // no interceptors: a refresh is never refreshed
  const api = axios.create({ baseURL, timeout });
  let refreshing = null; // the promise of the refresh that is under way

  // The key of a refresh is drawn with the tokens that it will renew, and sent with
  // every attempt: a refresh whose answer was lost is then known again.
  const keep = ({ access_token, refresh_token }) =>
    storage.set({ access_token, refresh_token, retry_key: crypto.randomUUID() });

  // refresh renews the tokens. What the server refuses ends the session; without an
  // answer, and with a 429 or 5xx, the tokens stay.
  async function refresh() {
    const { refresh_token, retry_key } = storage.get() ?? {};
    if (!refresh_token) throw new Error("there is no session");
    try {
      const { data } = await auth.post("/refresh", { refreshToken: refresh_token }, { headers: { "Idempotency-Key": retry_key } });
      keep(data);
    } catch (error) {
      const status = error.response?.status;
      if (status >= 400 && status < 500 && status !== 429) {
        storage.clear();
        sessionExpired(error.response.data?.reason);
      }
      throw error;
    }
  }

  api.interceptors.request.use((config) => {
    const tokens = storage.get();
    if (tokens) config.headers.set("Authorization", `Bearer ${tokens.access_token}`);
    return config;
  });

  api.interceptors.response.use(undefined, async (error) => {
    const { config, response } = error;
    if (response?.status !== 401 || config._retry) throw error;
    config._retry = true;
    // A 401 that comes late is for a token that is renewed already.
    const used = config.headers.get("Authorization");
    if (used === `Bearer ${storage.get()?.access_token}`) {
      refreshing ??= refresh().finally(() => (refreshing = null));
      await refreshing;
    } else if (!storage.get()) {
      throw error;
    }
    return api(config);
  });

  return {
    api,
    refresh,
    async login(username, password) {
      keep((await auth.post("/login", { username, password })).data);
    },
    async logout() {
      const tokens = storage.get();
      storage.clear(); // whatever becomes of the call
      if (tokens) await auth.post("/logout", { refresh_token: tokens.refresh_token });
    },
  };
}

// createMemory keeps tokens for as long as the process lives.
export function createMemory() {
  let tokens = null;
  return {
    get: () => tokens,
    set: (next) => (tokens = next),
    clear: () => (tokens = null),
  };
}
