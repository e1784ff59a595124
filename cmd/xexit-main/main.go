// Command xexit-main has the verbs of xexit that need not stay small; the
// small binary starts it. What a verb does belongs in internal/cli.
package main

import (
	"context"
	"os"
	"runtime/debug"
	"strings"

	"xexit/internal/cli"
)

// main catches no signal: an end that is under way must outlast INT and TERM,
// and the verbs for which that is different say so themselves.
func main() {
	nameProcess()
	self, _ := os.Readlink("/proc/self/exe") // without /proc every verb fails, and says why
	version := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		version = info.Main.Version
	}
	os.Exit(cli.Main(context.Background(), os.Args[1:], cli.Env{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Environ: os.Environ(), Self: strings.TrimSuffix(self, " (deleted)"), Version: version,
	}))
}

// nameProcess sets what ps(1) shows: watchers start this by a link in /proc,
// and it would have the link's name. A failure changes nothing that matters.
func nameProcess() { _ = os.WriteFile("/proc/self/comm", []byte("xexit-main"), 0) }
