package ending

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
)

// reuseStart starts a process that waits, with a marker or an innocent one,
// which has TERM's and HUP's default actions. deaf: it ignores TERM.
func reuseStart(marker string, deaf bool) (*exec.Cmd, error) {
	c := exec.Command("/bin/sleep", "1000")
	c.Env = []string{"PATH=/usr/bin:/bin"}
	if marker != "" {
		c.Env = append(c.Env, marker)
	}
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: reuseUser, Gid: reuseUser}}
	if deaf {
		signal.Ignore(syscall.SIGTERM) // inherited
		defer signal.Reset(syscall.SIGTERM)
	}
	return c, c.Start()
}

func reuseEnd(c *exec.Cmd) {
	_ = c.Process.Kill()
	_ = c.Wait() // it may have been waited for
	_ = c.Process.Release()
}

// reuseFate is the signal that has ended or stopped a child, 0 if none has.
func reuseFate(pid, options int) (syscall.Signal, error) {
	var status syscall.WaitStatus
	got, err := syscall.Wait4(pid, &status, options, nil)
	switch {
	case err != nil || got == 0:
		return 0, err
	case status.Signaled():
		return status.Signal(), nil
	case status.Stopped():
		return status.StopSignal(), nil
	}
	return 0, fmt.Errorf("process %d exited with %d", pid, status.ExitStatus())
}

// reusePending reports whether a signal is on its way to a process, which may
// have had no processor yet to take it.
func reusePending(pid int) (bool, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return false, err
	}
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ":\t")
		if (key == "SigPnd" || key == "ShdPnd") && strings.Trim(value, "0") != "" {
			return true, nil
		}
	}
	return false, nil
}

// numberSignal is what goes out by number: one that xexit never sends, and that
// is taken after those that it does.
const numberSignal = syscall.SIGVTALRM

// numberKiller is a shell that sends signals to numbers.
type numberKiller struct {
	numbers io.Writer
	answers *bufio.Reader
}

func newNumberKiller() (*numberKiller, error) {
	c := exec.Command("/bin/sh", "-c", `while read n; do kill -VTALRM $n; echo $?; done`)
	in, err := c.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := c.StdoutPipe()
	if err != nil {
		return nil, err
	}
	return &numberKiller{numbers: in, answers: bufio.NewReader(out)}, c.Start()
}

// kill returns the exit status of kill(1).
func (k *numberKiller) kill(number int) (string, error) {
	if _, err := fmt.Fprintln(k.numbers, number); err != nil {
		return "", err
	}
	line, err := k.answers.ReadString('\n')
	return strings.TrimSpace(line), err
}
