// Accessibility and printed length of report pages, in headless Chromium: axe-core in four views, Lighthouse, pages of a PDF.
//
//   make pages
//   node build/pages/check.mjs --out build/pages/result REPORT.html...
//
// The four views are light, dark, phone (375 px wide) and print; closed details are opened for axe-core, so that nothing is left out.
// Writes an image of each view, a PDF of each page, result.json and table.csv. Exit code 1: a serious or critical violation, a score of
// Lighthouse's accessibility below 95, or more printed pages than --most-pages (8) on A4 or Letter.

import { createServer } from "node:http";
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { createRequire } from "node:module";
import { parseArgs } from "node:util";

import lighthouse, { desktopConfig } from "lighthouse";
import puppeteer from "puppeteer-core";

const require = createRequire(import.meta.url);
const axeSource = readFileSync(require.resolve("axe-core/axe.min.js"), "utf-8");
const version = (name) => JSON.parse(readFileSync(new URL(`node_modules/${name}/package.json`, import.meta.url), "utf-8")).version;

const VIEWS = {
  light: { width: 1100, scheme: "light", media: "screen" },
  dark: { width: 1100, scheme: "dark", media: "screen" },
  phone: { width: 375, scheme: "light", media: "screen" },
  "phone, dark": { width: 375, scheme: "dark", media: "screen" },
  print: { width: 720, scheme: "light", media: "print" },
};
const GRAVE = new Set(["serious", "critical"]);

const { values: options, positionals: reports } = parseArgs({
  allowPositionals: true,
  options: {
    out: { type: "string", default: "build/pages/result" },
    chromium: { type: "string", default: process.env.CHROMIUM ?? "" },
    "most-pages": { type: "string", default: "8" },
  },
});

function findChromium() {
  for (const name of [options.chromium, "chromium", "chromium-browser", "google-chrome"].filter(Boolean)) {
    try {
      return execFileSync("sh", ["-c", 'command -v -- "$1"', "sh", name], { encoding: "utf-8" }).trim();
    } catch {
      continue;
    }
  }
  throw new Error("There is no Chromium on the PATH. Install it, or name it by CHROMIUM=/path/to/chromium.");
}

function served(path) {
  const body = readFileSync(path);
  const server = createServer((request, answer) => {
    answer.writeHead(request.url === "/report.html" ? 200 : 404, { "content-type": "text/html; charset=utf-8" });
    answer.end(request.url === "/report.html" ? body : "");
  });
  return new Promise((done) => server.listen(0, "127.0.0.1", () => done(server)));
}

async function show(page, url, view) {
  await page.setViewport({ width: view.width, height: 900 });
  // Puppeteer's two calls for these undo each other.
  const session = await page.createCDPSession();
  const features = [{ name: "prefers-color-scheme", value: view.scheme }];
  await session.send("Emulation.setEmulatedMedia", { media: view.media, features });
  await page.goto(url, { waitUntil: "load" });
  const isDark = await page.evaluate(() => matchMedia("(prefers-color-scheme: dark)").matches);
  const isPrint = await page.evaluate(() => matchMedia("print").matches);
  if (isDark !== (view.scheme === "dark") || isPrint !== (view.media === "print")) throw new Error("The view is not what it should be.");
}

async function violations(page) {
  await page.evaluate(() => document.querySelectorAll("details").forEach((each) => (each.open = true)));
  await page.evaluate(axeSource);
  const { violations: found } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  return found.map((each) => ({
    rule: each.id,
    impact: each.impact,
    help: each.help,
    nodes: each.nodes.map((node) => ({ at: node.target.join(" "), html: node.html.slice(0, 200), why: node.failureSummary })),
  }));
}

async function printed(page, url, format, path) {
  await show(page, url, VIEWS.print);
  const pdf = Buffer.from(await page.pdf({ format, printBackground: true, preferCSSPageSize: false, path }));
  return (pdf.toString("latin1").match(/\/Type\s*\/Page\b(?!s)/g) ?? []).length;
}

async function score(page, url, config) {
  const { lhr } = await lighthouse(url, { onlyCategories: ["accessibility"], logLevel: "error" }, config, page);
  const failed = Object.values(lhr.audits).filter((each) => each.score === 0 && each.scoreDisplayMode === "binary");
  return { score: Math.round(100 * lhr.categories.accessibility.score), failed: failed.map((each) => each.id) };
}

async function check(browser, path) {
  const server = await served(path);
  const url = `http://127.0.0.1:${server.address().port}/report.html`;
  const name = basename(resolve(path, ".."));
  const result = { report: name, axe: {}, lighthouse: {}, printed_pages: {} };
  for (const [title, view] of Object.entries(VIEWS)) {
    const page = await browser.newPage();
    await show(page, url, view);
    const reach = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
    const file = join(options.out, `${name}-${title.replace(", ", "-")}.png`);
    await page.screenshot({ path: file, fullPage: true });
    result.axe[title] = await violations(page);
    if (view.media === "screen") (result.beyond_window ??= {})[title] = Math.max(0, reach);
    await page.close();
  }
  for (const format of ["A4", "Letter"]) {
    const page = await browser.newPage();
    result.printed_pages[format] = await printed(page, url, format, join(options.out, `${name}-${format}.pdf`));
    await page.close();
  }
  for (const [title, config] of Object.entries({ desktop: desktopConfig, mobile: undefined })) {
    const page = await browser.newPage();
    result.lighthouse[title] = await score(page, url, config);
    await page.close();
  }
  server.close();
  return result;
}

const grave = (result, view) => result.axe[view].filter((each) => GRAVE.has(each.impact)).length;

function table(results, versions) {
  const rows = [
    ["report", ...results.map((each) => each.report)],
    ...Object.keys(VIEWS).map((view) => [
      `axe-core, ${view}: serious or critical, all`,
      ...results.map((each) => `${grave(each, view)}, ${each.axe[view].length}`),
    ]),
    ...["desktop", "mobile"].map((form) => [
      `Lighthouse accessibility, ${form}`,
      ...results.map((each) => `${each.lighthouse[form].score}`),
    ]),
    ...["A4", "Letter"].map((format) => [`printed pages, ${format}`, ...results.map((each) => `${each.printed_pages[format]}`)]),
  ];
  const told = `${versions.chromium}, axe-core ${versions["axe-core"]}, Lighthouse ${versions.lighthouse}; ${versions.date}.`;
  return [...rows, [], [told]].map((row) => `${row.map((cell) => `"${cell}"`).join(",")}\n`).join("");
}

mkdirSync(options.out, { recursive: true });
const browser = await puppeteer.launch({
  executablePath: findChromium(),
  args: ["--no-sandbox", "--disable-dev-shm-usage", "--disable-background-networking"],
  protocolTimeout: 600_000,
});
const results = [];
const versions = {
  chromium: (await browser.version()).replace("Headless", "").replace("Chrome/", "Chromium "),
  ...Object.fromEntries(["axe-core", "lighthouse"].map((name) => [name, version(name)])),
  date: new Date().toISOString().slice(0, 10),
};
for (const path of reports) results.push(await check(browser, path));
await browser.close();
writeFileSync(join(options.out, "result.json"), `${JSON.stringify({ versions, results }, null, 1)}\n`);
writeFileSync(join(options.out, "table.csv"), table(results, versions));
console.log(table(results, versions));
for (const each of results)
  for (const [view, found] of Object.entries(each.axe))
    for (const one of found) console.log(`${each.report}, ${view}: ${one.impact} ${one.rule}: ${one.help}: ${one.nodes[0].at}`);
const bad = results.some(
  (each) =>
    Object.keys(VIEWS).some((view) => grave(each, view)) ||
    Object.values(each.lighthouse).some(({ score: found }) => found < 95) ||
    Object.values(each.beyond_window).some((found) => found > 1) ||
    Object.values(each.printed_pages).some((found) => found > Number(options["most-pages"])),
);
process.exitCode = bad ? 1 : 0;
