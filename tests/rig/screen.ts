/** A terminal's screen, as far as programs of ours use one: text, and the sequences that move, clear and switch. */

/** One sequence of ECMA-48, or a character. */
// deno-lint-ignore no-control-regex
const PIECE = /\x1b\[(\??)([0-9;]*)([A-Za-z])|[^]/gu;

/** A screen that is fed with what a program writes. */
export class Screen {
  /** Whether the program has the alternate screen. */
  isAlternate = false;
  /** Whether the cursor is shown. */
  hasCursor = true;
  /** Lines that were longer than the screen is wide, for a program must cut them itself. */
  overflows = 0;
  /** How often a colour was set. */
  colours = 0;
  /** Pictures, as counted by how often the cursor went home. */
  pictures = 0;
  #columns: number;
  #rows: number;
  #cells: string[][] = [];
  #row = 0;
  #column = 0;
  #rest = "";
  /** What the alternate screen has in front of it. */
  #behind = { cells: this.#cells, row: 0, column: 0 };

  constructor(columns: number, rows: number) {
    [this.#columns, this.#rows] = [columns, rows];
    this.#clear();
  }

  /** The lines, without blanks at their ends. */
  get lines(): string[] {
    return this.#cells.map((cells) => cells.join("").trimEnd());
  }

  /** All of it. */
  get text(): string {
    return this.lines.join("\n");
  }

  /** Gives it another size; what was there stays where there is room. */
  resize(columns: number, rows: number): void {
    [this.#columns, this.#rows] = [columns, rows];
    const before = this.#cells;
    this.#clear();
    before.slice(0, rows).forEach((cells, row) => this.#cells[row] = cells.slice(0, columns));
  }

  /** Shows what a program has written; a sequence may come in two pieces. */
  write(text: string): void {
    const all = this.#rest + text;
    // deno-lint-ignore no-control-regex
    const cut = /\x1b(\[[?0-9;]*)?$/.exec(all)?.index ?? all.length;
    this.#rest = all.slice(cut);
    for (const [piece, mark, numbers = "", command] of all.slice(0, cut).matchAll(PIECE)) {
      if (command === undefined) this.#put(piece);
      else if (mark === "?") this.#switch(numbers, command);
      else this.#obey(numbers.split(";").map(Number), command);
    }
  }

  #put(char: string): void {
    if (char === "\r") this.#column = 0;
    else if (char === "\n") this.#down();
    else {
      const cells = this.#cells[this.#row];
      if (this.#column < this.#columns && cells !== undefined) cells[this.#column] = char;
      else this.overflows++;
      this.#column++;
    }
  }

  #down(): void {
    if (this.#row < this.#rows - 1) this.#row++;
    else {
      this.#cells.shift();
      this.#cells.push(this.#blank());
    }
  }

  #switch(numbers: string, command: string): void {
    const isOn = command === "h";
    if (numbers === "25") this.hasCursor = isOn;
    if (numbers !== "1049") return;
    this.isAlternate = isOn;
    const behind = this.#behind;
    this.#behind = { cells: this.#cells, row: this.#row, column: this.#column };
    if (isOn) return this.#clear();
    [this.#cells, this.#row, this.#column] = [behind.cells, behind.row, behind.column];
  }

  #obey([first = 0, second = 0]: number[], command: string): void {
    if (command === "H") {
      if (first < 2 && second < 2) this.pictures++;
      [this.#row, this.#column] = [Math.max(1, first) - 1, Math.max(1, second) - 1];
    }
    if (command === "m" && first !== 0) this.colours++;
    if (command === "K") this.#cells[this.#row]?.fill(" ", this.#column);
    if (command !== "J") return;
    if (first === 2) return this.#clear();
    this.#cells[this.#row]?.fill(" ", this.#column);
    for (let row = this.#row + 1; row < this.#rows; row++) this.#cells[row] = this.#blank();
  }

  #clear(): void {
    this.#cells = Array.from({ length: this.#rows }, () => this.#blank());
  }

  #blank(): string[] {
    return Array.from({ length: this.#columns }, () => " ");
  }
}
