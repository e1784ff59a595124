package term

import (
	"io"
	"strings"
	"unicode/utf8"
)

// Cell is one field of a table. Its text is escaped when it is printed.
type Cell struct {
	Text   string
	Colour Colour
	Right  bool // aligned to the right, as numbers are
}

// Text makes plain cells.
func Text(texts ...string) []Cell {
	cells := make([]Cell, len(texts))
	for i, text := range texts {
		cells[i].Text = text
	}
	return cells
}

// Table collects rows and aligns their columns by the number of characters;
// wide and combining characters are not measured. The zero value is an empty
// table.
type Table struct {
	Style  Style
	Indent string // before every row, printed as it is
	rows   [][]Cell
}

// Head adds a row in bold.
func (t *Table) Head(titles ...string) {
	cells := Text(titles...)
	for i := range cells {
		cells[i].Colour = Bold
	}
	t.Row(cells...)
}

// Row adds a row. Rows may differ in length.
func (t *Table) Row(cells ...Cell) { t.rows = append(t.rows, cells) }

// Write prints the rows, two spaces between columns, no spaces at line ends.
// The error is the writer's.
func (t *Table) Write(w io.Writer) error {
	widths := t.widths()
	var out strings.Builder
	for _, row := range t.rows {
		var line strings.Builder
		gap := 0
		for i, cell := range row {
			text := Escape(cell.Text)
			pad := widths[i] - utf8.RuneCountInString(text)
			if cell.Right {
				gap, pad = gap+pad, 0
			}
			if text != "" {
				line.WriteString(strings.Repeat(" ", gap))
				line.WriteString(t.Style.Paint(cell.Colour, text))
				gap = 0
			}
			gap += pad + 2
		}
		if line.Len() > 0 {
			out.WriteString(t.Indent)
			out.WriteString(line.String())
		}
		out.WriteByte('\n')
	}
	_, err := io.WriteString(w, out.String())
	return err
}

func (t *Table) widths() []int {
	var widths []int
	for _, row := range t.rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(Escape(cell.Text)))
		}
	}
	return widths
}
