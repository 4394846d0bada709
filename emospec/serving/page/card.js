// The model card's Markdown as elements. Text becomes text nodes alone, so a card cannot run anything.

const element = (tag, ...children) => {
  const created = document.createElement(tag);
  created.append(...children);
  return created;
};

/** Return Markdown as elements: headings, paragraphs, lists, tables, code. Its front matter is left out. */
export function cardOf(markdown) {
  const body = markdown.replace(/^---\n[^]*?\n---\n/, "");
  return blocksOf(body).map(([kind, lines]) => BLOCKS[kind](lines));
}

const KINDS = [["code", /^```/], ["heading", /^#{1,6} /], ["list", /^[-*] /], ["table", /^\|/]];

/** Return [kind, lines] of each block. */
function blocksOf(text) {
  const blocks = [];
  let open = null;
  for (const line of text.split("\n")) {
    const kind = KINDS.find(([, start]) => start.test(line))?.[0] ?? "paragraph";
    if (open?.[0] === "code") {
      if (kind === "code") open = null;
      else open[1].push(line);
    } else if (!line.trim()) open = null;
    else if (open && continues(open[0], kind)) open[1].push(line);
    else blocks.push(open = [kind, kind === "code" ? [] : [line]]);
  }
  return blocks;
}

const continues = (open, kind) => kind !== "heading" && (kind === open || (kind === "paragraph" && open === "list"));

const BLOCKS = {
  heading: ([line]) => element(`h${line.indexOf(" ")}`, ...inline(line.replace(/^#+ /, ""))),
  paragraph: (lines) => element("p", ...inline(lines.join(" "))),
  code: (lines) => element("pre", lines.join("\n")),
  list(lines) {
    const items = lines.join("\n").split(/^[-*] /m).slice(1);
    return element("ul", ...items.map((item) => element("li", ...inline(item))));
  },
  table(lines) {
    const rows = lines.filter((line) => !/^[|\s:-]+$/.test(line)).map((line) => line.split("|").slice(1, -1));
    return element("table", ...rows.map((cells, i) =>
      element("tr", ...cells.map((cell) => element(i ? "td" : "th", ...inline(cell.trim()))))));
  },
};

/** Return the code and bold text within a line; a link becomes its text and its address. */
function inline(text) {
  const plain = text.replace(/\[([^\]]+)\]\(([^)]+)\)/g, "$1 ($2)");
  return plain.split(/(`[^`]+`|\*\*[^*]+\*\*)/).map((part) => {
    if (part.startsWith("`") && part.length > 2) return element("code", part.slice(1, -1));
    if (part.startsWith("**") && part.length > 4) return element("strong", part.slice(2, -2));
    return part;
  });
}
