package main

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"unsafe"
)

// An answer is only worth something when the processor computed it, so none of these is a constant.
var checks = []struct {
	name string
	run  func() error
}{
	{"program is for this platform", checkMachine},
	{"byte order", checkByteOrder},
	{"floating point", checkFloat},
	{"SHA-256", checkHash},
}

// selfTest runs every check, writes one line for each, and returns the exit code.
func selfTest(out io.Writer) int {
	code := 0
	for _, check := range checks {
		verdict := "ok"
		if err := check.run(); err != nil {
			verdict, code = err.Error(), 1
		}
		fmt.Fprintf(out, "%s/%s %s: %s\n", runtime.GOOS, runtime.GOARCH, check.name, verdict)
	}
	return code
}

// machines holds ELF's e_machine by Go's architecture names.
var machines = map[string]uint16{
	"386": 3, "ppc64le": 21, "s390x": 22, "arm": 40, "amd64": 62, "arm64": 183, "riscv64": 243,
}

func checkMachine() error {
	path, err := os.Executable()
	if err != nil {
		return err
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	header := make([]byte, 20)
	if _, err := io.ReadFull(file, header); err != nil {
		return err
	}
	if got := nativeOrder().Uint16(header[18:]); got != machines[runtime.GOARCH] {
		return fmt.Errorf("ELF machine %d in %s", got, path)
	}
	return nil
}

func nativeOrder() binary.ByteOrder {
	one := uint16(1)
	if *(*byte)(unsafe.Pointer(&one)) == 1 {
		return binary.LittleEndian
	}
	return binary.BigEndian
}

func byteOrder() string {
	if nativeOrder() == binary.ByteOrder(binary.BigEndian) {
		return "big endian"
	}
	return "little endian"
}

func checkByteOrder() error {
	isBig := nativeOrder() == binary.ByteOrder(binary.BigEndian)
	if wantsBig := runtime.GOARCH == "s390x"; isBig != wantsBig {
		return errors.New(byteOrder())
	}
	return nil
}

func checkFloat() error {
	sum := 0.0
	for i := 1; i <= 1000; i++ {
		sum += math.Sqrt(float64(i))
	}
	if math.Abs(sum-21097.455887480734) > 1e-9 {
		return fmt.Errorf("%.12f", sum)
	}
	return nil
}

func checkHash() error {
	const want = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
	sum := sha256.Sum256([]byte("abc"))
	if got := hex.EncodeToString(sum[:]); got != want {
		return errors.New(got)
	}
	return nil
}
