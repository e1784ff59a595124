package linux

import (
	"errors"
	"syscall"
	"testing"
	"time"
)

func TestMessages(t *testing.T) {
	ours, theirs, err := MessagePair()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Close(ours) }()
	buf := make([]byte, 16)
	if _, _, err := ReceiveMessage(ours, buf); !errors.Is(err, syscall.EAGAIN) {
		t.Errorf("nothing was sent: %v", err)
	}
	read, write, err := Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Close(read) }()
	if _, err := syscall.Read(read, buf); err != syscall.EAGAIN {
		t.Errorf("an empty pipe: %v", err)
	}
	for _, send := range []error{SendMessage(theirs, []byte("plain"), -1), SendMessage(theirs, []byte("with"), write), syscall.Close(write), syscall.Close(theirs)} {
		if send != nil {
			t.Fatal(send)
		}
	}
	n, fd, err := ReceiveMessage(ours, buf)
	if string(buf[:n]) != "plain" || fd != -1 || err != nil {
		t.Errorf("%q %d %v", buf[:n], fd, err)
	}
	n, fd, err = ReceiveMessage(ours, buf)
	if string(buf[:n]) != "with" || fd < 0 || err != nil {
		t.Fatalf("%q %d %v", buf[:n], fd, err)
	}
	if _, err := syscall.Write(fd, []byte("x")); err != nil { // it is the pipe
		t.Error(err)
	}
	_ = syscall.Close(fd)
	if n, _, err := ReceiveMessage(ours, buf); n != 0 || err != nil {
		t.Errorf("closed: %d %v", n, err)
	}
	found := []PollFD{{FD: read}, {FD: ours}}
	if err := Poll(found, time.Minute); err != nil || !found[0].In || !found[0].HangUp || !found[1].HangUp {
		t.Errorf("%+v %v, want data and an end", found, err)
	}
	if n, err := syscall.Read(read, buf); n != 1 || err != nil {
		t.Errorf("%d %v", n, err)
	}
}
