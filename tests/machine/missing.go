package machine

import (
	"os"
	"os/exec"
)

// Missing says why no container of these images can be booted here, "" if one
// can.
func Missing(images ...string) string {
	if os.Geteuid() != 0 {
		return "it needs root, for containers in which xexit can harm nobody"
	}
	for _, tool := range []string{"systemd-nspawn", "gcc"} {
		if _, err := exec.LookPath(tool); err != nil {
			return tool + " is not installed (tests/setup.sh installs it)"
		}
	}
	for _, image := range images {
		if _, err := os.Stat(image + ".made"); err != nil {
			return image + " is not there (tests/image.sh makes it)"
		}
	}
	return ""
}
