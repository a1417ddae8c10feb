// Disk queues of stock's library, for the cross test with ours.
module nsqd.test/crossdq

go 1.17

require github.com/nsqio/go-diskqueue v1.1.0
