// A table that reads well in a terminal and is Markdown at the same time.

/** Rows of cells; the first row is the head. The first column stands left, the others right. */
export function formatTable(rows: readonly (readonly string[])[]): string {
  const [head = []] = rows;
  const widths = head.map((_, column) => Math.max(3, ...rows.map((row) => width(row[column]))));
  const line = (row: readonly string[]): string => {
    const cells = widths.map((size, column) => pad(row[column] ?? "", size, column > 0));
    return `| ${cells.join(" | ")} |`;
  };
  const rule = widths.map((size, column) =>
    column > 0 ? `${"-".repeat(size - 1)}:` : "-".repeat(size)
  );
  return [line(head), `| ${rule.join(" | ")} |`, ...rows.slice(1).map(line)].join("\n");
}

function width(cell = ""): number {
  return [...cell].length;
}

function pad(cell: string, size: number, right: boolean): string {
  const space = " ".repeat(size - width(cell));
  return right ? space + cell : cell + space;
}
