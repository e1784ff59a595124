package proc

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fakeProcess writes files of one process below a new root.
func fakeTree(t *testing.T, files map[string]string) *FS {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	fs, err := New(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = fs.Close() })
	return fs
}

func environOf(t *testing.T, fs *FS, pid int, names ...string) map[string]string {
	t.Helper()
	got := map[string]string{}
	err := fs.Environ(pid, names, func(i int, value []byte) {
		if _, twice := got[names[i]]; twice {
			t.Errorf("%s was visited twice", names[i])
		}
		got[names[i]] = string(value)
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestEnvironWindow(t *testing.T) {
	long := strings.Repeat("y", 3*envBuffer)
	for name, c := range map[string]struct {
		environ string
		want    map[string]string
	}{
		"usual":             {"A=1\x00B=2\x00C=3\x00", map[string]string{"A": "1", "B": "2"}},
		"first of two":      {"A=1\x00A=2\x00", map[string]string{"A": "1"}},
		"no NUL at the end": {"C=3\x00B=2", map[string]string{"B": "2"}},
		"empty value":       {"A=\x00", map[string]string{"A": ""}},
		"longer name":       {"AA=1\x00A", map[string]string{}},
		"no variable":       {"A\x00\x00\x00=A\x00", map[string]string{}},
		"behind a long one": {"C=" + long + "\x00A=1\x00", map[string]string{"A": "1"}},
		"inside a long one": {"C=" + long + "A=1\x00B=2\x00", map[string]string{"B": "2"}},
		"across the window": {"C=" + long[:envBuffer-5] + "\x00A=123456\x00", map[string]string{"A": "123456"}},
		"value cut":         {"A=" + long + "\x00B=2\x00", map[string]string{"A": long[:envBuffer-2], "B": "2"}},
	} {
		t.Run(name, func(t *testing.T) {
			fs := fakeTree(t, map[string]string{"7/environ": c.environ})
			got := environOf(t, fs, 7, "A", "B")
			if len(got) != len(c.want) {
				t.Errorf("got %d variables, want %d", len(got), len(c.want))
			}
			for k, v := range c.want {
				if got[k] != v {
					t.Errorf("%s: got %d bytes, want %d", k, len(got[k]), len(v))
				}
			}
		})
	}
}

func TestEnvironEmpty(t *testing.T) {
	stat := func(state, flags, threads, envEnd string) string {
		f := strings.Fields(statLine("x", state))
		f[8], f[19], f[50] = flags, threads, envEnd
		return strings.Join(f, " ")
	}
	for name, c := range map[string]struct {
		files map[string]string
		want  error
	}{
		"env -i":        {map[string]string{"7/stat": stat("S", "0", "1", "4096")}, nil},
		"kernel thread": {map[string]string{"7/stat": stat("S", "2097152", "1", "0")}, nil},
		"in execve":     {map[string]string{"7/stat": stat("R", "0", "1", "0")}, ErrExecuting},
		"zombie":        {map[string]string{"7/stat": stat("Z", "4", "1", "0")}, ErrGone},
		"exiting":       {map[string]string{"7/stat": stat("R", "4", "1", "0")}, ErrGone},
		"dead leader, threads gone": {map[string]string{
			"7/stat": stat("Z", "4", "2", "0"), "7/task/7/environ": "",
		}, ErrGone},
	} {
		t.Run(name, func(t *testing.T) {
			c.files["7/environ"] = ""
			err := fakeTree(t, c.files).Environ(7, []string{"A"}, func(int, []byte) { t.Error("a variable") })
			if err != c.want { //nolint:errorlint // the value itself, as a scan compares it
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

func TestEnvironDeadLeader(t *testing.T) {
	f := strings.Fields(statLine("x", "Z"))
	f[8], f[19] = "4", "2"
	fs := fakeTree(t, map[string]string{
		"7/environ": "", "7/stat": strings.Join(f, " "), "7/task/7/environ": "", "7/task/9/environ": "A=1\x00",
	})
	if got := environOf(t, fs, 7, "A"); got["A"] != "1" {
		t.Errorf("got %v", got)
	}
}
