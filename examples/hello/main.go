// Command hello tells which platform it was compiled for and checks that it runs on that platform.
package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "--self-test" {
		os.Exit(selfTest(os.Stdout))
	}
	fmt.Printf("Hello from %s/%s: %d bits, %s\n", runtime.GOOS, runtime.GOARCH, strconv.IntSize, byteOrder())
}
