//go:build race

package boundary_test

// raceDetector says that memory use means nothing: the detector multiplies it.
const raceDetector = true
