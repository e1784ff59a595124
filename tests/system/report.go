package system

import (
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"xexit/tests/machine"
)

// Enders are all of them, ours first.
func Enders() []Ender { return []Ender{Daemon, Kill, Terminate, Nobody} }

// imageName is what an image is called.
func imageName(image string) string { return filepath.Base(image) }

func millis(d time.Duration) string {
	if d >= 10*time.Second {
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return fmt.Sprintf("%d ms", d.Milliseconds())
}

// Wrong is what is not as it must be; nothing for rivals, who must nothing.
func (c *Cell) Wrong() []string {
	if c.Ender != Daemon {
		return nil
	}
	return c.wrong(Leftovers())
}

// Write writes docs/system.md.
func Write(w io.Writer, cells []Cell) {
	fmt.Fprintln(w, head())
	times(w, cells)
	fates(w, cells)
	fmt.Fprint(w, "\nWhat is not plain in the column 'must':\n\n")
	for _, l := range Leftovers() {
		if l.Why != "" {
			fmt.Fprintf(w, "- %s: %s\n", l.Name, l.Why)
		}
	}
}

func head() string {
	version := func(name string, args ...string) string {
		out, _ := exec.Command(name, args...).Output()
		line, _, _ := strings.Cut(string(out), "\n")
		return line
	}
	return `# System mode, measured

Every kind of login that the tests know, with every kind of leftover in it, is
ended in every way, in containers that a real systemd boots. Made by
` + "`make system`" + ` (tests/system); ` + version("uname", "-sr") + `; ` + version("systemd-nspawn", "--version") + ` outside;
Debian 12 (systemd 252) and Debian 13 (systemd 257) inside.
xexit has a grace of ` + Grace + `; the rivals are logind with KillUserProcesses=yes, and
` + "`loginctl terminate-session`" + ` in the place of the logout.

## From the event to an empty control group

Medians. The event is the logout, the death of the leader or of the X server, or
the cut; of a cut link most of the time is sshd's (ClientAliveInterval 4,
ClientAliveCountMax 2 here), or for XDMCP the daemon's (15 s without a sign of
the X server). 'never': not within 100 s.
`
}

func medianOf(took []time.Duration) string {
	if len(took) == 0 {
		return "never"
	}
	slices.Sort(took)
	return millis(took[len(took)/2])
}

func times(w io.Writer, cells []Cell) {
	images := []string{machine.Debian12, machine.Debian13}
	enders := []Ender{Daemon, Kill, Terminate}
	fmt.Fprint(w, "| login | end |")
	for _, e := range enders {
		for _, i := range images {
			fmt.Fprintf(w, " %s, %s |", e, strings.Replace(imageName(i), "debian-", "Debian ", 1))
		}
	}
	fmt.Fprintln(w, "\n| --- | --- |"+strings.Repeat(" --- |", len(enders)*len(images)))
	for _, k := range Kinds() {
		for _, end := range k.Ends {
			fmt.Fprintf(w, "| %s | %s |", k.Name, end)
			for _, e := range enders {
				for _, i := range images {
					fmt.Fprintf(w, " %s |", timeOf(cells, k.Name, end, e, i))
				}
			}
			fmt.Fprintln(w)
		}
	}
}

func timeOf(cells []Cell, kind string, end End, e Ender, image string) string {
	var took []time.Duration
	seen := false
	for _, c := range cells {
		if c.Kind == kind && c.End == end && c.Ender == e && c.Image == image && c.Err == nil {
			seen = true
			if c.Empty {
				took = append(took, c.Took)
			}
		}
	}
	if !seen {
		return ""
	}
	return medianOf(took)
}

func fates(w io.Writer, cells []Cell) {
	enders := Enders()
	fmt.Fprint(w, "\n## What becomes of each leftover\n\nWhile the user has another login; in all cells above. 'must' is what was written\ndown before (beside another login / as the user's last).\n\n| leftover | must |")
	for _, e := range enders {
		fmt.Fprintf(w, " %s |", e)
	}
	fmt.Fprintln(w, "\n| --- | --- |"+strings.Repeat(" --- |", len(enders)))
	for _, l := range Leftovers() {
		fmt.Fprintf(w, "| %s | %s / %s |", l.Name, l.Beside, l.Last)
		for _, e := range enders {
			fmt.Fprintf(w, " %s |", fateOf(cells, l.Name, e))
		}
		fmt.Fprintln(w)
	}
	fmt.Fprint(w, "| **of another login of the same user's, which has the same** | lives |")
	for _, e := range enders {
		hurt, all := 0, 0
		for _, c := range cells {
			if c.Ender == e && !c.Last && c.Err == nil {
				all++
				if len(c.Hurt) > 0 {
					hurt++
				}
			}
		}
		fmt.Fprintf(w, " hurt in %d of %d |", hurt, all)
	}
	fmt.Fprintln(w)
}

func fateOf(cells []Cell, leftover string, e Ender) string {
	count := map[Fate]int{}
	for _, c := range cells {
		if c.Ender == e && !c.Last && c.Err == nil {
			count[c.Fates[leftover]]++
		}
	}
	switch {
	case count[Gone] == 0 && count[Lives] == 0:
		return ""
	case count[Gone] == 0:
		return string(Lives)
	case count[Lives] == 0:
		return string(Gone)
	}
	return fmt.Sprintf("gone in %d of %d", count[Gone], count[Gone]+count[Lives])
}
