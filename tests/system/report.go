package system

import (
	"fmt"
	"path/filepath"
	"time"
)

// imageName is what an image is called.
func imageName(image string) string { return filepath.Base(image) }

func millis(d time.Duration) string {
	if d >= 10*time.Second {
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return fmt.Sprintf("%d ms", d.Milliseconds())
}
