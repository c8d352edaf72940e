// The page of a single-page app on cookie mode: a script sees the access token
// alone, and a reload gets another one for the cookie.

const $ = (id) => document.getElementById(id);
const otherTabs = new BroadcastChannel("session");

// The session, as far as this tab knows it.
let token = null; // {text, claims, lifetime, and expires, in milliseconds of performance.now}
let refreshing = null; // the promise of the refresh that is under way

// A Refusal is an answer that says no, and why.
class Refusal extends Error {
	constructor(status, problem) {
		super(problem.detail || problem.title || `status ${status}`);
		this.status = status;
		this.reason = problem.reason || "";
	}
}

// send sends a request of JSON and returns what the answer holds.
async function send(method, path, { body, access } = {}) {
	const headers = {};
	if (body) headers["Content-Type"] = "application/json";
	if (access) headers["Authorization"] = `Bearer ${access}`;
	const response = await fetch(path, { method, headers, body: body && JSON.stringify(body), cache: "no-store" });
	if (response.ok) return response.status === 204 ? null : response.json();
	const refusal = new Refusal(response.status, await response.json().catch(() => ({})));
	$("refusal").textContent = `${refusal.reason || "no reason"} (${refusal.status}): ${refusal.message}`;
	throw refusal;
}

// keep takes the tokens of an answer.
function keep({ access_token, expires_in }) {
	const payload = access_token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
	const bytes = Uint8Array.from(atob(payload), (c) => c.charCodeAt(0));
	token = {
		text: access_token,
		claims: JSON.parse(new TextDecoder().decode(bytes)), // to be shown; the server verifies
		lifetime: expires_in * 1000,
		expires: performance.now() + expires_in * 1000, // the clock of this device may be wrong
	};
}

// refresh gets an access token for the cookie. Whoever asks meanwhile waits for the
// same answer. Other tabs may ask at the same time: the server gives them the same
// session. Only a refusal ends it; without an answer, everything stays.
function refresh() {
	refreshing ??= send("POST", "/auth/refresh")
		.then(keep)
		.catch((error) => {
			if (error.status === 401 || error.status === 400) token = null;
			throw error;
		})
		.finally(() => (refreshing = null));
	return refreshing;
}

// call calls the API: with a token that is good for a second at least, and once more
// with another one when the server wants one.
async function call(method, path) {
	if (!token || token.expires - performance.now() < 1000) await refresh();
	const used = token.text;
	try {
		return await send(method, path, { access: used });
	} catch (error) {
		if (error.status !== 401) throw error;
		if (token?.text === used) await refresh();
		return send(method, path, { access: token.text });
	}
}

// attempt runs f, and shows what became of it.
async function attempt(f) {
	try {
		await f();
	} catch (error) {
		if (!(error instanceof Refusal)) $("notice").textContent = "The server does not answer. You stay logged in.";
		else $("notice").textContent = token || error.reason === "AUTH_CREDENTIALS_INVALID" ? error.message : "You are logged out.";
	}
	show();
}

async function showDevices() {
	const { sessions } = await call("GET", "/auth/sessions");
	$("devices").replaceChildren(...sessions.map((session) => {
		const name = session.device || "A device without a name";
		const item = document.createElement("li");
		const text = document.createElement("div");
		const title = document.createElement("strong");
		title.textContent = session.current ? `${name} (this one)` : name;
		const used = document.createElement("div");
		used.className = "quiet";
		used.textContent = `Last seen ${new Date(session.used_at).toLocaleString()}, from ${session.address || "somewhere"}`;
		text.append(title, used);
		const button = document.createElement("button");
		button.type = "button";
		button.className = "danger";
		button.textContent = "Revoke";
		button.setAttribute("aria-label", `Revoke ${title.textContent}`);
		button.addEventListener("click", () => attempt(async () => {
			await call("DELETE", `/auth/sessions/${encodeURIComponent(session.id)}`);
			otherTabs.postMessage("changed");
			await showDevices();
		}));
		item.append(text, button);
		return item;
	}));
}

function show() {
	$("login").hidden = token !== null;
	$("account").hidden = token === null;
	if (!token) return;
	$("who").textContent = `Logged in as ${token.claims.sub}`;
	$("claims").replaceChildren(...Object.entries(token.claims).flatMap(([name, value]) => {
		const term = document.createElement("dt");
		term.textContent = name;
		const description = document.createElement("dd");
		description.textContent = ["exp", "iat", "nbf", "auth_time"].includes(name)
			? `${value} (${new Date(value * 1000).toLocaleTimeString()})`
			: typeof value === "string" ? value : JSON.stringify(value);
		return [term, description];
	}));
	showTime();
}

function showTime() {
	if (!token) return;
	const left = Math.max(token.expires - performance.now(), 0);
	$("left").value = left / token.lifetime;
	$("seconds").textContent = left > 0 ? `${Math.ceil(left / 1000)} s` : "none";
}
setInterval(showTime, 500);

$("login").addEventListener("submit", (event) => {
	event.preventDefault();
	const { username, password, device } = Object.fromEntries(new FormData(event.target));
	attempt(async () => {
		keep(await send("POST", "/auth/login", { body: { username, password, device } }));
		event.target.reset();
		$("notice").textContent = "";
		otherTabs.postMessage("changed");
		await showDevices();
	});
});

$("read").addEventListener("click", () => attempt(async () => {
	const profile = await call("GET", "/api/me");
	$("answer").textContent = `The API says: hello ${profile.sub}.`;
}));

$("renew").addEventListener("click", () => attempt(refresh));

async function logout() {
	await send("POST", "/auth/logout");
	token = null;
	$("answer").textContent = "";
	$("notice").textContent = "You are logged out.";
	otherTabs.postMessage("changed");
}
$("logout").addEventListener("click", () => attempt(logout));
$("everywhere").addEventListener("click", () => attempt(async () => {
	await call("DELETE", "/auth/sessions?others=true");
	await logout();
}));

// Another tab has logged in, logged out or revoked something.
otherTabs.addEventListener("message", () => attempt(async () => {
	await refresh();
	await showDevices();
	$("notice").textContent = "";
}));

// A tab that comes back may have slept for hours.
document.addEventListener("visibilitychange", () => {
	if (document.visibilityState === "visible" && token && token.expires < performance.now()) attempt(refresh);
});

// The start: is there a session?
try {
	await refresh();
	await showDevices();
} catch (error) {
	if (error instanceof Refusal) $("refusal").textContent = "None so far."; // nobody was logged in
	else $("notice").textContent = "The server does not answer.";
}
show();
