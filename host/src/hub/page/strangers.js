// Sensors that are on a device's buses and not in its pipeline, each with the block that takes it in.

import { setText, stamp } from './nodes.js';
import { moment } from './words.js';

const COPIED_MS = 2000;

export class StrangerList {
  #items = new Map();

  constructor(root, announce) {
    this.root = root;
    this.announce = announce;
  }

  render(found, now) {
    this.root.hidden = found.length === 0;
    const list = this.root.querySelector('ul');
    for (const [id, item] of this.#items) {
      if (found.some((sensor) => sensor.id === id)) continue;
      item.remove();
      this.#items.delete(id);
    }
    for (const { id, since } of found) {
      if (!this.#items.has(id)) {
        this.#items.set(id, this.#item(id));
        list.append(this.#items.get(id));
      }
      setText(this.#items.get(id).querySelector('.since'), `since ${moment(since, now)}`);
    }
  }

  #item(id) {
    const item = stamp('stranger');
    const text = block(id);
    setText(item.querySelector('.rom'), id);
    setText(item.querySelector('.block'), text);
    const button = item.querySelector('button');
    button.setAttribute('aria-label', `Copy the block of ${id}`);
    button.addEventListener('click', async () => {
      const done = await copy(text, item.querySelector('.block'));
      setText(button, done ? 'Copied' : 'Press Ctrl+C');
      this.announce(done ? 'Copied.' : 'The block is selected: press Ctrl+C.');
      setTimeout(() => setText(button, 'Copy'), COPIED_MS);
    });
    return item;
  }
}

/** A JSON string is a TOML string too. */
function block(id) {
  const text = JSON.stringify(id);
  return `[[sensor]]\nname = ${text}\ndriver = "ds18b20"\nid = ${text}`;
}

/** Browsers give the clipboard to pages of https and of this machine alone; others may copy what is selected. */
async function copy(text, node) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    getSelection().selectAllChildren(node);
    return document.execCommand('copy');
  }
}
