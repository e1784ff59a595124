package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"xexit/internal/spelling"
	"xexit/internal/watcher"
)

// verb is a word that xexit knows.
type verb struct {
	name string
	here bool   // done by this binary, not by xexit-main
	help string // "": known, and so never a PROGRAM, but not offered yet
}

// verbs is in the order of the usage.
var verbs = [...]verb{
	{"watch", true, "watch the display; when it is gone run PROGRAM, or end the session"},
	{"session", true, "run a command as a session of its own, and end what it leaves"},
	{"end", false, "end a session now"},
	{"ps", false, "show sessions and what would become of their processes"},
	{"log", false, "show what was ended, and why"},
	{"check", false, "check the configuration and the exit scripts"},
	{"doctor", false, "say what is watched here, what would be noticed, what to change"},
	{"demo", false, "see it work, on a display of its own; harms nothing"},
	{"daemon", false, "end what every login of this host leaves; for root, see xexit-daemon(8)"},
	{"version", false, "print the version"},
	{"keep", false, ""},
	{"report", false, ""},
	{"pam-session", false, ""}, // for pam_exec(8)
	{"help", false, ""},
	{"completion", false, ""},
}

const (
	exitFailed = 1
	exitUsage  = 2
)

func run(argv []string, w watcher.World) int {
	if len(argv) > 0 && filepath.Base(argv[0]) == watcher.EndName {
		return runMain(append([]string{"end"}, argv[1:]...), w)
	}
	if len(argv) < 2 {
		fmt.Fprint(w.Stderr, usage())
		return exitUsage
	}
	word, args := argv[1], argv[2:]
	switch word {
	case "--help", "-h":
		fmt.Fprint(w.Stdout, usage())
		return 0
	case "--version":
		return runMain([]string{"version"}, w)
	case "watch":
		return watcher.Watch(args, w)
	case "session":
		return watcher.Session(args, w)
	case "pam-session":
		w.Environ = pamEnviron()
	}
	switch {
	case strings.HasPrefix(word, "-"):
		fmt.Fprintf(w.Stderr, "xexit: unknown flag %q before the verb; flags follow one: xexit watch %s\n", word, printable(word))
		return exitUsage
	case isVerb(word):
		return runMain(argv[1:], w)
	case !strings.Contains(word, "/") && missing(word, w.Environ):
		fmt.Fprintf(w.Stderr, "xexit: %q is no verb and no program in PATH%s\n", word, suggestion(word))
		return exitUsage
	}
	// xexit PROGRAM [ARG…], as ever.
	return watcher.Watch(append([]string{"--"}, argv[1:]...), w)
}

// missing reports whether there is nothing of that name; what is there and
// cannot be run is the watcher's to refuse.
func missing(name string, environ []string) bool {
	_, err := watcher.FindProgram(name, pathOf(environ))
	return errors.Is(err, fs.ErrNotExist)
}

func pathOf(environ []string) string {
	for _, entry := range environ {
		if path, ok := strings.CutPrefix(entry, "PATH="); ok {
			return path
		}
	}
	return ""
}

// runMain becomes xexit-main; it returns only if it cannot.
func runMain(args []string, w watcher.World) int {
	path, err := watcher.FindMain(w.Exe)
	if err == nil {
		err = &os.PathError{Op: "exec", Path: path, Err: syscall.Exec(path, append([]string{"xexit"}, args...), w.Environ)}
	}
	fmt.Fprintln(w.Stderr, "xexit:", err)
	return exitFailed
}

// pamEnviron is what pam_exec(8) says. Before that there may be what a user
// says (pam_env(8), user_readenv), also under the same names, of which the
// runtime would keep the first. Nothing else of it comes near a process of
// root's.
func pamEnviron() (environ []string) {
	text, _ := os.ReadFile("/proc/self/environ") // without it the hook has nothing to do
	last := map[string]string{}
	for entry := range strings.SplitSeq(string(text), "\x00") {
		if name, _, ok := strings.Cut(entry, "="); ok && (strings.HasPrefix(name, "PAM_") || strings.HasPrefix(name, "XDG_")) {
			last[name] = entry
		}
	}
	for _, entry := range last {
		environ = append(environ, entry)
	}
	return environ
}

func usage() string {
	var b strings.Builder
	b.WriteString("usage: xexit PROGRAM [ARG...]   watch this session's display in the background,\n" +
		"                                run PROGRAM when it is gone\n" +
		"       xexit VERB [ARG...]\n\n")
	for _, v := range verbs {
		if v.help != "" {
			fmt.Fprintf(&b, "  %-9s %s\n", v.name, v.help)
		}
	}
	b.WriteString("\nA first word with a '/' is always a PROGRAM. More: xexit VERB --help\n")
	return b.String()
}

func isVerb(word string) bool {
	for _, v := range verbs {
		if v.name == word {
			return true
		}
	}
	return false
}

// suggestion names the offered verb that word was probably meant to be.
func suggestion(word string) string {
	best, least := "", len(word)/3+2
	for _, v := range verbs {
		if d := spelling.Distance(word, v.name); v.help != "" && d < least {
			best, least = v.name, d
		}
	}
	if best == "" {
		return " (verbs: xexit --help)"
	}
	return fmt.Sprintf("; did you mean 'xexit %s'?", best)
}

func printable(word string) string { return strings.Trim(fmt.Sprintf("%q", word), `"`) }
