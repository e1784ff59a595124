// Command system puts every kind of login, ended in every way, against xexit's
// daemon and its rivals on Debian 12 and 13 and writes the tables of
// docs/system.md, or soaks the daemon. The exit status is 1 if xexit was not as
// it must be.
//
//	system [-o FILE] [-rounds N] [-containers N]
//	system -soak 2000 [-displays 200] [-lost 120]
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"xexit/tests/machine"
	"xexit/tests/system"
)

func main() {
	out := flag.String("o", "", "file for the tables; standard output if empty")
	rounds := flag.Int("rounds", 3, "runs of each cell")
	containers := flag.Int("containers", 2, "containers at once; more than 3 need a larger fs.inotify.max_user_instances than 128")
	soak := flag.Int("soak", 0, "soak instead: so many logins by ssh")
	atOnce := flag.Int("at-once", 20, "logins at once, of the soak")
	displays := flag.Int("displays", 200, "logins with a display that are open at once, of the soak")
	lost := flag.Int("lost", 120, "of these lose it, one a second")
	flag.Parse()
	stage, err := stage()
	if err == nil {
		if *soak > 0 {
			err = soaked(stage, system.Soak{Sessions: *soak, AtOnce: *atOnce, Displays: *displays, Lost: min(*lost, *displays), Say: say})
		} else {
			err = tables(stage, *out, *rounds, *containers)
		}
		_ = os.RemoveAll(stage)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "system:", err)
		os.Exit(1)
	}
}

func say(format string, args ...any) {
	fmt.Printf("%s "+format+"\n", append([]any{time.Now().Format(time.TimeOnly)}, args...)...)
}

func stage() (dir string, err error) {
	if why := machine.Missing(machine.Debian12, machine.Debian13); why != "" {
		return "", fmt.Errorf("it cannot run: %s", why)
	}
	repository, err := filepath.Abs("..")
	if err != nil {
		return "", err
	}
	if dir, err = os.MkdirTemp("/var/tmp", "xexit-system-"); err != nil {
		return "", err
	}
	return dir, system.Stage(repository, dir, false)
}

func soaked(stage string, s system.Soak) error {
	wrong, err := s.Run(machine.Debian12, stage)
	for _, w := range wrong {
		say("WRONG: %s", w)
	}
	if err == nil && len(wrong) > 0 {
		err = fmt.Errorf("%d wrong", len(wrong))
	}
	return err
}

func tables(stage, out string, rounds, containers int) error {
	var cells []system.Cell
	wrong := 0
	for range rounds {
		plans := system.Plans([]string{machine.Debian12, machine.Debian13}, system.Enders())
		if err := system.DoAll(stage, plans, containers, func(c *system.Cell) {
			wrong += len(c.Wrong())
			fmt.Fprintln(os.Stderr, c.Line())
		}); err != nil {
			return err
		}
		for _, p := range plans {
			cells = append(cells, p.Cells...)
		}
	}
	var text bytes.Buffer
	system.Write(&text, cells)
	if out == "" {
		_, err := os.Stdout.Write(text.Bytes())
		return err
	}
	if err := os.WriteFile(out, text.Bytes(), 0o644); err != nil {
		return err
	}
	if wrong > 0 {
		return fmt.Errorf("%d wrong", wrong)
	}
	return nil
}
