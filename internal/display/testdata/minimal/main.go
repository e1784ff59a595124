// Command minimal watches DISPLAY and does nothing else: what it needs of
// memory and time is what package display needs.
package main

import (
	"context"
	"os"

	"xexit/internal/display"
)

func main() {
	w, err := display.Open(context.Background(), display.Options{Name: os.Getenv("DISPLAY"), LeaderPidFD: -1})
	if err != nil {
		os.Stderr.WriteString(err.Error() + "\n")
		os.Exit(1)
	}
	os.Stdout.WriteString("open\n")
	if _, err = w.Run(context.Background()); err != nil {
		os.Stderr.WriteString(err.Error() + "\n")
		os.Exit(1)
	}
}
