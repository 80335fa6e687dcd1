//go:build !race

package authority_test

// raceDetector says that memory use means nothing: the detector multiplies it.
const raceDetector = false
