//go:build !amd64

package linux

import (
	"os"
	"os/signal"
	"syscall"
)

// Signals passes sigs on to a channel from now on; what finds no room in it is
// dropped.
func Signals(to chan<- os.Signal, sigs ...syscall.Signal) error {
	for _, sig := range sigs {
		signal.Notify(to, sig)
	}
	return nil
}
