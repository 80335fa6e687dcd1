package wire

type violation struct{}
