// Command grab holds XGrabServer on $DISPLAY, as window managers, menus and
// screen lockers do, until its stdin ends. It prints "grabbed" once the server
// has done it.
package main

import (
	"fmt"
	"io"
	"os"

	"xexit/tests/xwire"
)

func main() {
	if err := grab(os.Getenv("DISPLAY")); err != nil {
		fmt.Fprintf(os.Stderr, "grab: %v\n", err)
		os.Exit(1)
	}
}

func grab(display string) error {
	conn, err := xwire.Open(display)
	if err != nil {
		return err
	}
	defer conn.Close()
	// The answer to the second request proves that the first was carried out.
	if _, err := conn.Ask(xwire.Request(xwire.GrabServer, 0), xwire.Request(xwire.GetInputFocus, 0)); err != nil {
		return err
	}
	fmt.Println("grabbed")
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}
