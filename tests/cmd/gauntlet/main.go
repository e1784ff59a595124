// Command gauntlet puts every way to outlive a session against xexit and its
// rivals and writes the table of docs/gauntlet.md. The exit status is 1 if
// xexit was not as it must be.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"xexit/tests/gauntlet"
)

func main() {
	out := flag.String("o", "", "file for the table; standard output if empty")
	arenas := flag.Int("arenas", 2, "containers at once")
	way := flag.String("way", "", "only the ways whose name has this in it")
	ender := flag.String("ender", "", "only the enders whose name has this in it")
	bombs := flag.Int("bombs", 0, "only the bombs, so many runs each, and the table of docs/bombs.md")
	flag.Parse()
	wrong, err := 0, error(nil)
	if *bombs > 0 {
		wrong, err = runBombs(*out, *way, *ender, *bombs)
	} else {
		wrong, err = run(*out, *way, *ender, *arenas)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "gauntlet:", err)
	}
	if err != nil || wrong > 0 {
		os.Exit(1)
	}
}

func run(out, way, ender string, arenas int) (wrong int, err error) {
	repository, err := filepath.Abs("..")
	if err != nil {
		return 0, err
	}
	stage, err := os.MkdirTemp("/var/tmp", "xexit-gauntlet-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(stage)
	if err := gauntlet.Stage(repository, stage); err != nil {
		return 0, err
	}
	ways := slices.DeleteFunc(gauntlet.Ways(), func(w gauntlet.Way) bool { return !strings.Contains(w.Name, way) })
	enders := slices.Concat([]gauntlet.Ender{gauntlet.Control()}, gauntlet.Xexits(), gauntlet.Rivals())
	enders = slices.DeleteFunc(enders, func(e gauntlet.Ender) bool { return !strings.Contains(e.Name, ender) })
	cells, err := gauntlet.RunAll(stage, ways, enders, arenas, func(c gauntlet.Cell) {
		wrong += len(c.Wrong)
		fmt.Fprintln(os.Stderr, c.Line())
	})
	if err != nil {
		return wrong, err
	}
	var table bytes.Buffer
	gauntlet.Write(&table, cells, enders, head(enders))
	if out == "" {
		_, err = os.Stdout.Write(table.Bytes())
		return wrong, err
	}
	return wrong, os.WriteFile(out, table.Bytes(), 0o644)
}

func head(enders []gauntlet.Ender) string {
	text := `# The gauntlet

Every way to outlive a session that is known to us, put against xexit and
against what else an admin may have, in a container with a real systemd, logind,
PAM and sshd. Made by ` + "`make gauntlet`" + `; the ways, and who lives beside each of
them, are in tests/gauntlet.

Versions: ` + strings.Join([]string{first("uname", "-sr"), first("systemd-nspawn", "--version"), "Debian 12 in the container"}, "; ") + `.
The grace of xexit is 500 ms in all runs; the times contain it. A rival of
systemd's has 10 s: by default it would send KILL to who ignores TERM after 90
(TimeoutStopSec).

`
	for _, e := range enders {
		text += fmt.Sprintf("- **%s**: `%s`\n", e.Name, e.What)
	}
	return text
}

func first(name string, args ...string) string {
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		return name + ": " + err.Error()
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return line
}
