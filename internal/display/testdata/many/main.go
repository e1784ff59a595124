// Command many watches the displays named on its standard input, a line each,
// in one process, as system mode does. It prints "open" once all of them are,
// and every end; it leaves when told so by SIGTERM.
//
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0
package main

import (
	"bufio"
	"context"
	"os"
	"strconv"

	"xexit/internal/display"
)

func main() {
	if err := run(); err != nil {
		os.Stderr.WriteString("many: " + err.Error() + "\n")
		os.Exit(1)
	}
}

func run() error {
	set, err := display.NewSet()
	if err != nil {
		return err
	}
	ctx := context.Background()
	names := 0
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); names++ {
		if err := set.Add(ctx, strconv.Itoa(names), display.Options{Name: lines.Text()}); err != nil {
			return err
		}
	}
	opened := 0
	return set.Run(ctx, func(n display.News) {
		switch n.What {
		case display.Opened:
			if opened++; opened == names {
				os.Stdout.WriteString("open\n")
			}
		case display.Failed:
			os.Stdout.WriteString("failed: " + n.Err.Error() + "\n")
		case display.Ended:
			os.Stdout.WriteString("ended: " + n.Key + ": " + n.End.Noticed + "\n")
		case display.Lives:
		}
	})
}
