package machine

import (
	"net"
	"os"
)

// CollectSyslog is the machine's syslogd, from within it: one line a message,
// in the file Syslog, for as long as the process lives.
func CollectSyslog() error {
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: "/dev/log", Net: "unixgram"})
	if err != nil {
		return err
	}
	if err := os.Chmod("/dev/log", 0o666); err != nil {
		return err
	}
	out, err := os.OpenFile(Syslog, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	go func() {
		buffer := make([]byte, 64<<10)
		for {
			n, err := l.Read(buffer)
			if err != nil {
				return
			}
			_, _ = out.Write(append(buffer[:n:n], '\n'))
		}
	}()
	return nil
}
