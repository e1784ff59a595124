// Command xexit is the small binary: it watches displays itself, because a
// watcher stays in memory as long as its session, and hands every other verb
// to xexit-main. What a verb does belongs elsewhere.
//
// The runtime need not follow the cgroup's CPU limits here: it would keep their
// files open in every watcher.
//
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0
package main

import (
	"fmt"
	"os"

	"xexit/internal/watcher"
)

func main() {
	exe, err := watcher.Self()
	if err != nil {
		fmt.Fprintln(os.Stderr, "xexit:", err)
		os.Exit(1)
	}
	w := watcher.World{Environ: os.Environ(), Stdout: os.Stdout, Stderr: os.Stderr, Exe: exe}
	os.Exit(run(os.Args, w))
}
