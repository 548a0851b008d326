// Nodes of the page: texts go in as texts, never as markup.

export function stamp(id) {
  return document.getElementById(id).content.firstElementChild.cloneNode(true);
}

export function element(tag, text = '') {
  const node = document.createElement(tag);
  node.textContent = text;
  return node;
}

export function setText(node, text) {
  if (node.textContent !== String(text)) node.textContent = text;
}
