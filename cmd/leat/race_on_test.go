//go:build race

package main

// raceDetector: the binary under test is built with the race detector when the tests are.
const raceDetector = true
