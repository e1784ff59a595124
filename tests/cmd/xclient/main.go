// Command xclient is an X11 client that does what its stdin says, one command
// a line, and answers each with a line. It does to a display what other
// clients can do to it; what that proves is up to the test.
//
//	grab, ungrab   hold XGrabServer, with the server's word for it: "ok"
//	ask            send a request and do not wait: "asked"
//	answered       whether its answer has come: "yes" or "no"
//	fill           connect until the server has no room, and go on trying: "full N"
//	filled         "R T": since then R tries were refused, and T places were taken
//	drop PID       have the server close that process' connections: "dropped N"
//
// It prints "ready" when it is connected. As `xclient report FILE` it is a
// PROGRAM of xexit's: it appends what it is told, and when that was.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"xexit/tests/xwire"
)

func main() {
	err := errors.New("unknown arguments")
	switch args := os.Args[1:]; {
	case len(args) == 0:
		err = serve(os.Getenv("DISPLAY"))
	case len(args) == 2 && args[0] == "report":
		err = report(args[1])
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "xclient: %v\n", err)
		os.Exit(1)
	}
}

// report writes one line: the time of its start in nanoseconds, who started
// it, the reason, and how it was noticed.
func report(name string) error {
	now := time.Now().UnixNano()
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "%d %d %s %s\n", now, os.Getppid(), os.Getenv("XEXIT_REASON"), os.Getenv("XEXIT_NOTICED"))
	return errors.Join(err, f.Close())
}

// client is one under command.
type client struct {
	*xwire.Conn
	display  string
	answered atomic.Bool

	refused, taken atomic.Int64
}

func serve(display string) error {
	conn, err := xwire.Open(display)
	if err != nil {
		return err
	}
	c := &client{Conn: conn, display: display}
	fmt.Println("ready")
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		answer, err := c.do(strings.Fields(lines.Text()))
		if err != nil {
			return fmt.Errorf("%s: %w", lines.Text(), err)
		}
		fmt.Println(answer)
	}
	return nil
}

func (c *client) do(words []string) (answer string, err error) {
	focus := xwire.Request(xwire.GetInputFocus, 0)
	switch command := strings.Join(words, " "); {
	case command == "grab":
		_, err = c.Ask(xwire.Request(xwire.GrabServer, 0), focus)
		return "ok", err
	case command == "ungrab":
		_, err = c.Ask(xwire.Request(xwire.UngrabServer, 0), focus)
		return "ok", err
	case command == "ask":
		c.answered.Store(false)
		_, err = c.Write(focus)
		go func() {
			if _, err := c.Answer(); err == nil {
				c.answered.Store(true)
			}
		}()
		return "asked", err
	case command == "answered" && c.answered.Load():
		return "yes", nil
	case command == "answered":
		return "no", nil
	case command == "fill":
		return c.fill()
	case command == "filled":
		return fmt.Sprint(c.refused.Load(), " ", c.taken.Load()), nil
	case len(words) == 2 && words[0] == "drop":
		pid, err := strconv.ParseUint(words[1], 10, 32)
		if err != nil {
			return "", err
		}
		n, err := c.Drop(uint32(pid))
		return fmt.Sprintf("dropped %d", n), err
	}
	return "", errors.New("unknown command")
}

// fill returns when the server is full, and takes every place that gets free.
func (c *client) fill() (answer string, err error) {
	const enough = 4096 // no server has more
	var held []*xwire.Conn
	try := func() (full bool, err error) {
		conn, err := xwire.Open(c.display)
		var refused *xwire.RefusedError
		if errors.As(err, &refused) && refused.Full() {
			return true, nil
		}
		if err == nil {
			held = append(held, conn)
		}
		return false, err
	}
	for full := false; !full; {
		if full, err = try(); err != nil || len(held) > enough {
			return "", errors.Join(err, fmt.Errorf("not full after %d clients", len(held)))
		}
	}
	n := len(held)
	go func() {
		for range time.Tick(20 * time.Millisecond) {
			switch full, err := try(); {
			case full:
				c.refused.Add(1)
			case err == nil:
				c.taken.Add(1)
			default:
				return // the server is gone
			}
		}
	}()
	return fmt.Sprintf("full %d", n), nil
}
