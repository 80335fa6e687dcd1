package wire

type structure struct{}
