// Drives the page in Chromium, as its users do:
//
//	node drive.mjs URL CHROMIUM FOLDER
//
// Screenshots go to the folder. It fails where the page is not as it should be.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

import { chromium } from "playwright-core";

const [url, executablePath, folder] = process.argv.slice(2);
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-dev-shm-usage"] });

try {
	await drive();
} finally {
	await browser.close();
}

async function drive() {
	const phone = await browser.newContext({ viewport: { width: 390, height: 844 }, deviceScaleFactor: 2 });
	phone.setDefaultTimeout(15_000);
	const first = await open(phone);
	await first.locator("#login").waitFor();
	await look(first, "login");

	await logIn(first, "wrong", "phone", false);
	await first.getByText("AUTH_CREDENTIALS_INVALID (401)").waitFor();
	await logIn(first, "correct horse battery staple", "phone");
	await look(first, "account");
	done("login");

	// The refresh token is where no script is.
	const [cookie] = await phone.cookies();
	assert.equal(cookie.name, "__Host-refresh");
	assert.ok(cookie.httpOnly && cookie.secure && cookie.sameSite === "Strict", "the cookie");
	assert.deepEqual(await first.evaluate(() => [document.cookie, localStorage.length, sessionStorage.length]), ["", 0, 0]);
	done("cookie");

	// A reload and a second tab have the session without a login.
	await first.reload();
	await loggedIn(first);
	const second = await open(phone);
	await loggedIn(second);
	done("silent");

	// Two tabs refresh at once, again and again, and then when both tokens have expired.
	for (let i = 0; i < 5; i++) {
		const renewed = [first, second].map((tab) => tab.waitForResponse((r) => r.url().endsWith("/auth/refresh")));
		await Promise.all([first, second].map((tab) => tab.getByRole("button", { name: "Refresh now" }).click()));
		for (const response of await Promise.all(renewed)) assert.equal(response.status(), 200);
	}
	for (const tab of [first, second]) await tab.locator("#seconds", { hasText: "none" }).waitFor();
	await Promise.all([first, second].map((tab) => tab.getByRole("button", { name: "Read my profile" }).click()));
	for (const tab of [first, second]) {
		await tab.getByText("The API says: hello alice.").waitFor();
		await loggedIn(tab);
	}
	done("two tabs");

	// A laptop logs in; the phone revokes it.
	const laptop = await browser.newContext({ viewport: { width: 1280, height: 800 } });
	laptop.setDefaultTimeout(15_000);
	const other = await open(laptop);
	await logIn(other, "correct horse battery staple", "laptop");
	await look(other, "devices");
	await second.reload();
	await second.getByRole("button", { name: "Revoke laptop" }).waitFor();
	await picture(second);
	await second.getByRole("button", { name: "Revoke laptop" }).click();
	await second.getByRole("button", { name: "Revoke laptop" }).waitFor({ state: "detached" });
	await other.getByRole("button", { name: "Read my profile" }).click();
	await other.locator("#login").waitFor();
	await other.getByText("AUTH_SESSION_REVOKED (401)").waitFor();
	await loggedIn(second);
	done("revoke");

	// One tab revokes the session of both.
	await second.getByRole("button", { name: "Revoke phone (this one)" }).click();
	for (const tab of [first, second]) await tab.locator("#login").waitFor();
	done("revoke this one");

	// A login in one tab is one in the other, and so is a logout.
	await logIn(first, "correct horse battery staple", "phone");
	await loggedIn(second);
	await second.getByRole("button", { name: "Log out", exact: true }).click();
	for (const tab of [first, second]) await tab.locator("#login").waitFor();
	assert.deepEqual(await phone.cookies(), []);
	done("logout");

	await logIn(other, "correct horse battery staple", "laptop");
	await logIn(first, "correct horse battery staple", "phone");
	await first.getByRole("button", { name: "Log out everywhere" }).click();
	await first.locator("#login").waitFor();
	await other.getByRole("button", { name: "Read my profile" }).click();
	await other.locator("#login").waitFor();
	done("everywhere");

	// With the keyboard alone.
	await other.reload();
	await other.locator("#username").focus();
	await other.keyboard.type("alice");
	await other.keyboard.press("Tab");
	await other.keyboard.type("correct horse battery staple");
	await other.keyboard.press("Enter");
	await loggedIn(other);
	await other.locator("#read").focus();
	await other.keyboard.press("Enter");
	await other.getByText("The API says: hello alice.").waitFor();
	done("keyboard");
}

async function open(context) {
	const tab = await context.newPage();
	tab.on("pageerror", (error) => { throw error; });
	await tab.goto(url);
	return tab;
}

async function logIn(tab, password, device, works = true) {
	await tab.getByLabel("Username").fill("alice");
	await tab.getByLabel("Password").fill(password);
	await tab.getByLabel("Name of this device").fill(device);
	await tab.getByRole("button", { name: "Log in" }).click();
	if (works) {
		await loggedIn(tab);
		await tab.getByText(`${device} (this one)`).waitFor();
	}
}

function loggedIn(tab) {
	return tab.getByRole("heading", { name: "Logged in as alice" }).waitFor();
}

// look keeps screenshots of a page at two widths, in light and dark. Nothing in it is
// cut off or overlaps, and axe-core has nothing to say.
async function look(tab, name) {
	const before = tab.viewportSize();
	for (const width of [390, 1280]) {
		for (const colorScheme of ["light", "dark"]) {
			await tab.setViewportSize({ width, height: 844 });
			await tab.emulateMedia({ colorScheme });
			await tab.screenshot({ path: join(folder, `${name}-${width}-${colorScheme}.png`), fullPage: true });
			assert.deepEqual(await tab.evaluate(misplaced), [], `${name} at ${width} pixels`);
			await tab.evaluate(axe);
			const { violations } = await tab.evaluate(() => axe.run());
			assert.deepEqual(violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.html).join(" ")}`), [], `${name} at ${width} pixels, ${colorScheme}`);
		}
	}
	await tab.setViewportSize(before);
}

// picture keeps what the README shows of the page, at a width that a phone can scale.
async function picture(tab) {
	const before = tab.viewportSize();
	await tab.setViewportSize({ width: 620, height: 820 });
	for (const colorScheme of ["light", "dark"]) {
		await tab.emulateMedia({ colorScheme });
		await tab.screenshot({ path: join(folder, `page-${colorScheme}.png`) });
	}
	await tab.setViewportSize(before);
}

// misplaced returns what is outside of the page or lies over something else.
function misplaced() {
	const shown = [...document.querySelectorAll("h1, h2, p, label, input, button, li, dt, dd, progress")]
		.map((element) => ({ element, box: element.getBoundingClientRect() }))
		.filter(({ box }) => box.width > 0 && box.height > 0);
	const wrong = [];
	for (const { element, box } of shown) {
		if (box.left < 0 || box.right > innerWidth || element.scrollWidth > element.clientWidth + 1 && getComputedStyle(element).display !== "inline")
			wrong.push(`cut off: ${element.outerHTML}`);
		for (const other of shown) {
			if (element === other.element || element.contains(other.element) || other.element.contains(element)) continue;
			const width = Math.min(box.right, other.box.right) - Math.max(box.left, other.box.left);
			const height = Math.min(box.bottom, other.box.bottom) - Math.max(box.top, other.box.top);
			if (width > 1 && height > 1) wrong.push(`${element.outerHTML} overlaps ${other.element.outerHTML}`);
		}
	}
	if (document.documentElement.scrollWidth > innerWidth) wrong.push("the page is wider than its window");
	return wrong;
}

function done(step) {
	console.log(step);
}
