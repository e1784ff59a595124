// Command fakes runs many fake displays, on abstract sockets that a libX11 of
// any age knows as :FIRST and so on:
//
//	fakes FIRST COUNT
//
// It prints their names, a line each, then "ready", and lives until its
// standard input ends.
package main

import (
	"fmt"
	"io"
	"os"
	"strconv"

	"xexit/internal/display/displaytest"
)

func main() {
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "fakes:", err)
		os.Exit(1)
	}
}

func run(from, count string) error {
	first, err := strconv.Atoi(from)
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(count)
	if err != nil {
		return err
	}
	for i := range n {
		srv, err := displaytest.Start("@/tmp/.X11-unix/X" + strconv.Itoa(first+i))
		if err != nil {
			return err
		}
		fmt.Println(srv.Display())
	}
	fmt.Println("ready")
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}
