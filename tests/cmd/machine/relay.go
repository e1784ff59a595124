package main

import (
	"fmt"
	"io"
	"net"
)

// relay listens and passes what comes in on to another address, as a bastion
// does: each side's kernel acknowledges for itself, and knows nothing of the
// other side's link.
func relay(from, to string) error {
	l, err := net.Listen("tcp", from)
	if err != nil {
		return err
	}
	fmt.Println("relaying")
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer conn.Close()
			far, err := net.Dial("tcp", to)
			if err != nil {
				return
			}
			defer far.Close()
			back := make(chan struct{})
			go func() {
				defer close(back)
				pass(conn, far)
			}()
			pass(far, conn)
			<-back
		}()
	}
}

// pass copies one direction, its end included.
func pass(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	if half, ok := to.(*net.TCPConn); ok {
		_ = half.CloseWrite()
	}
}
