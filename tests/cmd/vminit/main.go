// Command vminit is the first process of the emulated machine; see package
// guest. It tests nothing itself.
//
//	vminit         pid 1: makes the machine fit to live in, and collects orphans
//	vminit serve   does what the tests outside ask for
package main

import (
	"fmt"
	"os"
	"syscall"

	"xexit/tests/vm/guest"
)

func main() {
	run := guest.First
	if len(os.Args) == 2 && os.Args[1] == "serve" {
		run = guest.Serve
	}
	if err := run(); err != nil {
		fmt.Fprintf(os.Stderr, "vminit: %v\n", err)
	}
	if os.Getpid() == 1 {
		_ = syscall.Reboot(syscall.LINUX_REBOOT_CMD_POWER_OFF)
	}
	os.Exit(1)
}
