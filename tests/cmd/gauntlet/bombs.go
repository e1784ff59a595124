package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"xexit/tests/gauntlet"
)

// runBombs writes the table of the bombs.
func runBombs(out, way, ender string, rounds int) (wrong int, err error) {
	repository, err := filepath.Abs("..")
	if err != nil {
		return 0, err
	}
	stage, err := os.MkdirTemp("/var/tmp", "xexit-gauntlet-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(stage)
	if err := gauntlet.StageBombs(repository, stage); err != nil {
		return 0, err
	}
	ways := slices.DeleteFunc(gauntlet.Ways(), func(w gauntlet.Way) bool { return !w.Bomb || !strings.Contains(w.Name, way) })
	enders := slices.DeleteFunc(gauntlet.Bombers(), func(e gauntlet.Ender) bool { return !strings.Contains(e.Name, ender) })
	rows, err := gauntlet.Bombs(stage, rounds, ways, enders, func(r gauntlet.BombRow) {
		wrong += len(r.Wrong)
		fmt.Fprintf(os.Stderr, "%s, %s, churn %v: %d of %d, %v %s\n", r.Bomb, r.Ender, r.Churn, len(r.Took), r.Runs, r.Took, strings.Join(r.Wrong, "; "))
	})
	if err != nil {
		return wrong, err
	}
	var table bytes.Buffer
	table.WriteString(bombsHead())
	gauntlet.WriteBombs(&table, rows)
	if out == "" {
		_, err = os.Stdout.Write(table.Bytes())
		return wrong, err
	}
	return wrong, os.WriteFile(out, table.Bytes(), 0o644)
}

func bombsHead() string {
	text := `# Fork bombs

Bounded fork bombs (tests/gauntlet/outlive: 30 s, 500 processes at most) in a
session, and what ends them in turns once they have gone off, in a container with a real systemd. Made by
` + "`make bombs`" + `, with the number of runs that the table says.

Versions: ` + strings.Join([]string{first("uname", "-sr"), first("systemd-nspawn", "--version"), "Debian 12 in the container"}, "; ") + `.

Times are from the end of the grace until the last process was dead, as xexit's
record says; the floor's from its start, as long after the bomb, until the kernel says that the login's
control group has nobody in it, the rivals' until it lists nobody, the classic
script's 3 s included. The whole time is from the command, or for the two that
notice it from the event, until the group lists nobody: with the program's start,
the exit scripts and a grace of ` + "`100 ms`" + `. A run has converged if nobody
was left for 100 ms, and for xexit if it says that it is verified too. The loop
of pkill gets 3 s, the script 6 s, and both a twentieth of the runs; the floor a
quarter.

`
	for _, e := range gauntlet.Bombers() {
		text += fmt.Sprintf("- **%s**: `%s`\n", e.Name, e.What)
	}
	return text
}
