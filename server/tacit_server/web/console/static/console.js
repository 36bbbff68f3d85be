// What is live on a page is looked at again now and then, and put in its place. Without this script a reload does the same.
"use strict";

const EVERY_MS = 4000;

function busy(part) {
  return part.contains(document.activeElement) || part.querySelector("details[open], input:checked") !== null;
}

async function look() {
  const answer = await fetch(location.href, { headers: { "x-tacit-poll": "1" }, credentials: "same-origin" });
  if (answer.status === 401) {
    location.reload(); // the log-in has ended: the log-in page says so
    return false;
  }
  if (!answer.ok) return true;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const part of document.querySelectorAll("[data-live]")) {
    const news = fresh.getElementById(part.id);
    if (news !== null && !busy(part) && news.innerHTML !== part.innerHTML) part.replaceChildren(...news.childNodes);
  }
  return true;
}

async function watch() {
  let going = true;
  try {
    if (!document.hidden) going = await look();
  } catch {
    // the server is away for a while: the next turn tries again
  }
  if (going) setTimeout(watch, EVERY_MS);
}

if (document.querySelector("[data-live]") !== null) setTimeout(watch, EVERY_MS);
for (const box of document.querySelectorAll("[data-select]")) box.select();
