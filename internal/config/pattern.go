package config

import (
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
)

// everyProgram are directories with the programs of the whole system: to keep
// all of one is to keep every shell, and to end nothing.
var everyProgram = []string{"/", "/usr", "/bin", "/sbin", "/usr/bin", "/usr/sbin", "/lib", "/lib64", "/usr/lib", "/usr/lib64"}

// noProgram are directories in which no file can ever count as a program that
// only root can change.
var noProgram = []string{"/proc", "/sys", "/dev", "/tmp", "/var/tmp"}

// checkProgram finds what is wrong with the text of a program: an absolute
// path of an executable, in which * stands for any part of a name and ** for
// any number of directories.
func checkProgram(text string) (what, remedy string) {
	switch {
	case strings.TrimSpace(text) == "" || hasControl(text):
		return fmt.Sprintf("%q is no path", text), `for example "/usr/lib/R/bin/exec/R"`
	case strings.TrimSpace(text) != text:
		return fmt.Sprintf("%q begins or ends with a space", text), fmt.Sprintf("write %q", strings.TrimSpace(text))
	case strings.ContainsAny(text, `"'`):
		return fmt.Sprintf("%q has quotes within its quotes", text), fmt.Sprintf("write %q", strings.Trim(text, `"'`))
	}
	if what, remedy = checkExpression(text); what != "" {
		return what, remedy
	}
	switch {
	case strings.HasPrefix(text, "~") || strings.Contains(text, "$"):
		return fmt.Sprintf("%q has a ~ or a variable in it, and neither is replaced", text), "write the path out; users' own files cannot be kept: users can change them"
	case !strings.Contains(text, "/"):
		return fmt.Sprintf("%q is a base name, which anybody can give to a copy of anything", text), inPath(text)
	case !path.IsAbs(text):
		return fmt.Sprintf("%q is a relative path", text), "write the absolute path of the executable"
	case strings.HasSuffix(text, "/"):
		return fmt.Sprintf("%q is a directory", text), fmt.Sprintf("for all programs below it write %q", path.Clean(text)+"/**")
	case path.Clean(text) != text:
		return fmt.Sprintf("%q is not the shortest form of its path, and would match nothing", text), fmt.Sprintf("write %q", path.Clean(text))
	}
	return checkStars(text)
}

// inPath says where the program of a base name probably is.
func inPath(name string) string {
	for _, dir := range []string{"/usr/local/bin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/sbin", "/sbin"} {
		if info, err := os.Stat(dir + "/" + name); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0 {
			return fmt.Sprintf("write %q", dir+"/"+name)
		}
	}
	return "write the absolute path of the executable"
}

// checkExpression refuses what is a regular expression, or a pattern of a
// shell that is none here. As a path it would match nothing, silently.
func checkExpression(text string) (what, remedy string) {
	plain := strings.NewReplacer(`\.`, ".", ".*", "*", ".+", "*", `\`, "", "$", "").Replace(strings.TrimPrefix(text, "^"))
	say := func(what string) (string, string) {
		if strings.ContainsAny(plain, "()|[]{}?+^") {
			return fmt.Sprintf("%q is %s, and matches nothing", text, what), "name each program by itself; only * and ** are patterns"
		}
		return fmt.Sprintf("%q is %s, and matches nothing", text, what), fmt.Sprintf("write %q; only * and ** are patterns", plain)
	}
	switch {
	case strings.HasPrefix(text, "^") || strings.HasSuffix(text, "$") || strings.Contains(text, `\`) || strings.ContainsAny(text, "()|"):
		return say("a regular expression")
	case strings.HasSuffix(text, "/.*"):
		return fmt.Sprintf("%q means hidden files only", text), fmt.Sprintf("for all programs below it write %q", strings.TrimSuffix(text, ".*")+"**")
	case strings.ContainsAny(text, "?[]") || strings.ContainsAny(text, "{}") && !strings.Contains(text, "$"):
		return say("a pattern with more than * and **")
	}
	return "", ""
}

// checkStars refuses patterns that mean too much or nothing.
func checkStars(text string) (what, remedy string) {
	fixed, first := literal(text)
	for _, dir := range noProgram {
		if text == dir || strings.HasPrefix(text, dir+"/") {
			return fmt.Sprintf("%q can never match: in %s are no programs that only root can change", text, dir), "install the program where only root can write"
		}
	}
	if first == "" {
		return "", ""
	}
	for part := range strings.SplitSeq(text, "/") {
		if strings.Contains(part, "**") && part != "**" {
			return fmt.Sprintf("%q: ** stands for whole directories only", text), "use * within a name"
		}
	}
	if strings.Contains(text, "**/**") {
		return fmt.Sprintf("%q: ** after ** adds nothing", text), fmt.Sprintf("write %q", strings.ReplaceAll(text, "**/**", "**"))
	}
	if strings.Trim(first, "*") == "" && slices.Contains(everyProgram, fixed) {
		return fmt.Sprintf("%q takes in every program of the system, shells too: nothing would be ended", text), "name the directory of the programs that are meant"
	}
	return "", ""
}

// literal splits a pattern into the directory before its first star and the
// part with that star, "" if there is none.
func literal(pattern string) (dir, first string) {
	parts := strings.Split(pattern, "/")
	for i, part := range parts {
		if strings.Contains(part, "*") {
			return "/" + strings.Join(parts[1:i], "/"), part
		}
	}
	return pattern, ""
}
