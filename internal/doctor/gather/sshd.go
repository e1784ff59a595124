package gather

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"time"

	"xexit/internal/doctor"
)

const (
	sshdConfig = "etc/ssh/sshd_config"
	sshdDepth  = 16 // of Include; sshd's own limit
)

// The settings that matter, in lower case as sshd compares them.
const (
	aliveInterval = "clientaliveinterval"
	aliveCount    = "clientalivecountmax"
)

// sshdFiles reads sshd_config(5): of every keyword the first value counts, and
// what follows a Match line is for some logins only, up to the next one or the
// end of the file.
type sshdFiles struct {
	root  fs.FS
	value map[string]string
	from  map[string]string // "FILE:LINE"
	match bool              // a Match block sets one of them, too
}

// readSSHD finds what sshd will do, as far as its files can be read. What the
// running sshd has been told otherwise (its command line, an older file) is not
// in them.
func readSSHD(root fs.FS, s doctor.SSH) doctor.SSH {
	f := sshdFiles{root: root, value: map[string]string{}, from: map[string]string{}}
	if err := f.read(sshdConfig, false, 0); err != nil {
		s.Unsure = err.Error()
		return s
	}
	return f.fill(s)
}

// parseEffective reads what `sshd -T` prints: every setting as it is in effect.
func parseEffective(text string, s doctor.SSH) doctor.SSH {
	f := sshdFiles{value: map[string]string{}, from: map[string]string{}}
	for line := range strings.SplitSeq(text, "\n") {
		if key, value := sshdWord(line); key == aliveInterval || key == aliveCount {
			f.value[key], f.from[key] = value, "sshd -T"
		}
	}
	return f.fill(s)
}

func (f *sshdFiles) fill(s doctor.SSH) doctor.SSH {
	s.Count, s.Match = 3, f.match
	s.From = f.from[aliveInterval]
	if text, ok := f.value[aliveInterval]; ok {
		var err error
		if s.Interval, err = sshdTime(text); err != nil {
			s.Unsure = fmt.Sprintf("%s: %v", s.From, err)
		}
	}
	if text, ok := f.value[aliveCount]; ok {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			s.Unsure = fmt.Sprintf("%s: %q is no number", f.from[aliveCount], text)
		}
		s.Count = n
	}
	return s
}

func (f *sshdFiles) read(name string, conditional bool, depth int) error {
	if depth > sshdDepth {
		return fmt.Errorf("/%s: too many levels of Include", name)
	}
	text, err := fs.ReadFile(f.root, name)
	if err != nil {
		var p *fs.PathError
		if errors.As(err, &p) {
			err = p.Err
		}
		return fmt.Errorf("/%s: %w", name, err)
	}
	number := 0
	for line := range strings.SplitSeq(string(text), "\n") {
		number++
		key, value := sshdWord(line)
		switch key {
		case "match":
			conditional = !strings.EqualFold(value, "all")
		case "include":
			if err := f.include(value, conditional, depth); err != nil {
				return err
			}
		case aliveInterval, aliveCount:
			f.set(key, value, fmt.Sprintf("/%s:%d", name, number), conditional)
		}
	}
	return nil
}

func (f *sshdFiles) set(key, value, from string, conditional bool) {
	if conditional {
		f.match = true
		return
	}
	if _, known := f.value[key]; !known {
		f.value[key], f.from[key] = value, from
	}
}

// include reads what a line's patterns name, in the order of the names; a
// relative pattern is below /etc/ssh.
func (f *sshdFiles) include(patterns string, conditional bool, depth int) error {
	for _, pattern := range strings.Fields(patterns) {
		pattern = strings.Trim(pattern, `"`)
		if !strings.HasPrefix(pattern, "/") {
			pattern = "/etc/ssh/" + pattern
		}
		pattern = path.Clean(pattern)[1:]
		if _, err := fs.ReadDir(f.root, path.Dir(pattern)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("/%s cannot be listed", path.Dir(pattern))
		}
		names, err := fs.Glob(f.root, pattern)
		if err != nil {
			return fmt.Errorf("include /%s: %w", pattern, err)
		}
		for _, name := range names {
			if err := f.read(name, conditional, depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

// sshdWord takes a line apart: "Keyword value", also "Keyword=value"; a '#'
// at its beginning makes it a comment.
func sshdWord(line string) (key, value string) {
	line = strings.TrimSpace(line)
	if line == "" || line[0] == '#' {
		return "", ""
	}
	end := strings.IndexAny(line, " \t=")
	if end < 0 {
		return strings.ToLower(line), ""
	}
	key, value = strings.ToLower(line[:end]), strings.TrimSpace(line[end:])
	value = strings.TrimSpace(strings.TrimPrefix(value, "="))
	if before, _, commented := strings.Cut(value, " #"); commented {
		value = strings.TrimSpace(before)
	}
	return key, strings.Trim(value, `"`)
}

// sshdTime reads sshd_config(5), TIME FORMATS: "90", "1m30s".
func sshdTime(text string) (time.Duration, error) {
	units := map[byte]time.Duration{
		's': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour, 'w': 7 * 24 * time.Hour,
	}
	var sum time.Duration
	for rest := strings.ToLower(text); ; {
		digits := 0
		for digits < len(rest) && rest[digits] >= '0' && rest[digits] <= '9' {
			digits++
		}
		n, err := strconv.ParseInt(rest[:digits], 10, 32)
		if err != nil {
			return 0, fmt.Errorf("%q is no time", text)
		}
		unit := time.Second
		rest = rest[digits:]
		if rest != "" {
			if unit = units[rest[0]]; unit == 0 {
				return 0, fmt.Errorf("%q is no time", text)
			}
			rest = rest[1:]
		}
		sum += time.Duration(n) * unit
		if rest == "" {
			return sum, nil
		}
	}
}
