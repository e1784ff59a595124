// Command naive is a watcher as many have written one: it asks the display of
// its environment something every few seconds, and takes a broken connection,
// or no answer within a time-out, for the end. It knows nothing else. The
// fault matrix runs it beside xexit to prove that its cells can fail; it must
// not get better.
//
//	naive [-every 5s] [-timeout 20s]
//
// It prints "watching" and then, when it ends, "gone: WHY".
package main

import (
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"xexit/tests/xwire"
)

// display is what it asks: one question, and the answer to it.
type display interface {
	ping() error
	SetReadDeadline(time.Time) error
}

func main() {
	every := flag.Duration("every", 5*time.Second, "time between an answer and the next question")
	timeout := flag.Duration("timeout", 20*time.Second, "age of the last answer that is the end")
	flag.Parse()
	d, err := open()
	if err == nil {
		err = d.ping()
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "naive: %v\n", err)
		os.Exit(1)
	}
	fmt.Println("watching")
	fmt.Println("gone:", watch(d, *every, *timeout))
}

// watch returns why it takes the display for gone. Ages are those of the clock
// on the wall, as time(2) has them.
func watch(d display, every, timeout time.Duration) error {
	for last := wall(); ; last = wall() {
		<-time.After(every)
		left := timeout - wall().Sub(last)
		if err := d.SetReadDeadline(time.Now().Add(left)); err != nil {
			return err
		}
		err := d.ping()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("no answer for %v", wall().Sub(last).Round(time.Second))
		}
		if err != nil {
			return err
		}
	}
}

func wall() time.Time { return time.Now().Round(0) }

func open() (display, error) {
	if name := os.Getenv("WAYLAND_DISPLAY"); name != "" {
		conn, err := net.Dial("unix", os.Getenv("XDG_RUNTIME_DIR")+"/"+name)
		return &wayland{Conn: conn, next: 2}, err
	}
	c, err := xwire.Open(os.Getenv("DISPLAY"))
	if err != nil {
		return nil, err
	}
	_, err = c.Write(c.Window()) // so that others can tell its connection
	return &x11{c}, err
}

type x11 struct{ *xwire.Conn }

func (x *x11) ping() error {
	_, err := x.Ask(xwire.Request(xwire.GetInputFocus, 0))
	return err
}

// wayland speaks wl_display.sync and knows its answer, wl_callback.done.
type wayland struct {
	net.Conn
	next uint32 // object id
}

func (w *wayland) ping() error {
	const display, sync, size = 1, 0, 12
	id := w.next
	w.next++
	var b []byte
	for _, word := range []uint32{display, size<<16 | sync, id} {
		b = binary.NativeEndian.AppendUint32(b, word)
	}
	if _, err := w.Write(b); err != nil {
		return err
	}
	for {
		head := make([]byte, 8)
		if _, err := io.ReadFull(w, head); err != nil {
			return err
		}
		length := int(binary.NativeEndian.Uint32(head[4:]) >> 16)
		if _, err := io.ReadFull(w, make([]byte, max(length-len(head), 0))); err != nil {
			return err
		}
		if binary.NativeEndian.Uint32(head) == id {
			return nil
		}
	}
}
