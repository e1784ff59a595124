package hook

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

func TestListOrderAndNames(t *testing.T) {
	dir := hookDir(t)
	for _, name := range []string{
		"9-z", "10-b.sh", "10-a", "B", "a", "_", "50.pulseaudio.site.sh", "10-a.rpmx.sh", "é",
		"10-a~", "x.bak", "x.dpkg-old", "x.dpkg-dist", "x.ucf-new", "x.rpmnew", "x.rpmsave", ".hidden", ".x.swp", "x.swp", "#x#",
		"README", "README.md",
	} {
		write(t, filepath.Join(dir, name), "", 0o644)
	}
	write(t, filepath.Join(dir, "20-exec"), "", 0o755)

	specs, refusals, err := List(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range specs {
		got = append(got, filepath.Base(s.Path))
		if wantSourced := filepath.Base(s.Path) != "20-exec"; s.Sourced != wantSourced {
			t.Errorf("%s: sourced is %v", s.Path, s.Sourced)
		}
	}
	want := []string{"10-a", "10-a.rpmx.sh", "10-b.sh", "20-exec", "50.pulseaudio.site.sh", "9-z", "B", "_", "a", "é"}
	// "10-a.rpmx.sh" is a hook: only the last suffix makes a package manager's copy.
	if !slices.Equal(got, want) {
		t.Errorf("hooks %q\nwant  %q", got, want)
	}
	var ignored []string
	for _, r := range refusals {
		if !r.Ignored || r.Reason == "" || r.Path != filepath.Join(dir, r.Name) {
			t.Errorf("%+v", r)
		}
		ignored = append(ignored, r.Name)
	}
	want = []string{"#x#", ".hidden", ".x.swp", "10-a~", "README", "README.md", "x.bak", "x.dpkg-dist", "x.dpkg-old", "x.rpmnew", "x.rpmsave", "x.swp", "x.ucf-new"}
	if !slices.Equal(ignored, want) {
		t.Errorf("ignored %q\nwant    %q", ignored, want)
	}
}

func TestListWithoutDirectory(t *testing.T) {
	specs, refusals, err := List(filepath.Join(hookDir(t), "none"))
	if specs != nil || refusals != nil || err != nil {
		t.Errorf("%v %v %v", specs, refusals, err)
	}
	if _, _, err := List(write(t, filepath.Join(hookDir(t), "file"), "", 0o644)); err == nil {
		t.Error("a file is no directory of hooks")
	}
}

// TestRefused has every way in which a hook may not be trusted, before List and
// before Run.
func TestRefused(t *testing.T) {
	const other = 24988
	for _, tc := range []struct {
		name string
		make func(t *testing.T, path string) // with an empty place for the hook
		want string                          // "": accepted
		root bool                            // needs chown
	}{
		{name: "world-writable", make: func(t *testing.T, p string) { write(t, p, "", 0o666) }, want: "chmod go-w"},
		{name: "group-writable", make: func(t *testing.T, p string) { write(t, p, "", 0o775) }, want: "chmod go-w"},
		{name: "mine", make: func(t *testing.T, p string) { write(t, p, "", 0o600) }},
		{name: "another user's", root: true, want: "belongs to uid 24988", make: func(t *testing.T, p string) {
			write(t, p, "", 0o755)
			must(t, os.Chown(p, other, other))
		}},
		{name: "link", make: func(t *testing.T, p string) { must(t, os.Symlink(fragment(t, ""), p)) }},
		{name: "chain of links", make: func(t *testing.T, p string) {
			must(t, os.Symlink(fragment(t, ""), p+"~"))
			must(t, os.Symlink(filepath.Base(p)+"~", p))
		}},
		{name: "link to a writable file", want: "chmod go-w", make: func(t *testing.T, p string) {
			target := fragment(t, "")
			must(t, os.Chmod(target, 0o646))
			must(t, os.Symlink(target, p))
		}},
		{name: "link below a writable directory", want: "chmod go-w", make: func(t *testing.T, p string) {
			target := fragment(t, "")
			must(t, os.Chmod(filepath.Dir(target), 0o777))
			must(t, os.Symlink(target, p))
		}},
		{name: "link below a sticky directory", make: func(t *testing.T, p string) {
			target := fragment(t, "")
			must(t, os.Chmod(filepath.Dir(target), 0o777|os.ModeSticky))
			must(t, os.Symlink(target, p))
		}},
		{name: "link below another user's directory", root: true, want: "belongs to uid 24988", make: func(t *testing.T, p string) {
			target := fragment(t, "")
			must(t, os.Chown(filepath.Dir(target), other, other))
			must(t, os.Symlink(target, p))
		}},
		{name: "dangling link", want: "no such file", make: func(t *testing.T, p string) { must(t, os.Symlink("/nonexistent/hook", p)) }},
		{name: "link to itself", want: "too many links", make: func(t *testing.T, p string) { must(t, os.Symlink(p, p)) }},
		{name: "directory", want: "no regular file", make: func(t *testing.T, p string) { must(t, os.Mkdir(p, 0o755)) }},
		{name: "fifo", want: "no regular file", make: func(t *testing.T, p string) { must(t, syscall.Mkfifo(p, 0o755)) }},
		{name: "device", want: "no regular file", make: func(t *testing.T, p string) { must(t, os.Symlink("/dev/full", p)) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.root && os.Getuid() != 0 {
				unable(t, "chown needs root")
			}
			dir := hookDir(t)
			path := filepath.Join(dir, "10-hook")
			tc.make(t, path)
			specs, refusals, err := List(dir)
			if err != nil {
				t.Fatal(err)
			}
			refusals = slices.DeleteFunc(refusals, func(r Refusal) bool { return r.Ignored })
			r := Run(t.Context(), Spec{Path: path, Sourced: true}, nil, Options{})
			if tc.want == "" {
				if len(specs) != 1 || len(refusals) != 0 {
					t.Errorf("%v %v", specs, refusals)
				}
				clean(t, r, 0)
				return
			}
			if len(specs) != 0 || len(refusals) != 1 || !strings.Contains(refusals[0].Reason, tc.want) {
				t.Errorf("listed %v, refused %v, want %q", specs, refusals, tc.want)
			}
			if !strings.Contains(r.Refused, tc.want) || r.Status != -1 {
				t.Errorf("run: %+v, want refused with %q", r, tc.want)
			}
		})
	}
}

func TestDirectoryRefused(t *testing.T) {
	for _, mode := range []os.FileMode{0o777, 0o775, 0o777 | os.ModeSticky} {
		path := fragment(t, "echo ran")
		must(t, os.Chmod(filepath.Dir(path), mode))
		specs, _, err := List(filepath.Dir(path))
		if err == nil || !strings.Contains(err.Error(), "chmod go-w") || specs != nil {
			t.Errorf("%v: %v %v", mode, specs, err)
		}
		if r := Run(t.Context(), Spec{Path: path}, nil, Options{}); r.Refused == "" || len(r.Output) > 0 {
			t.Errorf("%v: %+v", mode, r)
		}
	}
	// A link to it does not help.
	bad := filepath.Dir(fragment(t, ""))
	must(t, os.Chmod(bad, 0o777))
	link := filepath.Join(hookDir(t), "Xexit.d")
	must(t, os.Symlink(bad, link))
	if _, _, err := List(link); err == nil {
		t.Error("a link to a writable directory is accepted")
	}
}

// TestUnreadable: what this user may not read or execute is refused with the
// mode, not started to fail.
func TestUnreadable(t *testing.T) {
	uid := privateUser(t)
	for want, path := range map[string]string{
		"may not read it":    write(t, filepath.Join(hookDir(t), "hook"), "", 0o600),
		"may not execute it": write(t, filepath.Join(hookDir(t), "hook"), "", 0o744),
	} {
		if r, _ := runAs(t, uid, path, nil, Options{}); !strings.Contains(r.Refused, want) {
			t.Errorf("%+v, want refused with %q", r, want)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
