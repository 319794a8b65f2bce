// The innermost read of the probe, for many sockets at a call. reader.py says what it is for, compiled.py compiles it.
//
// An event that differs from an earlier one of its stream only in its text is counted here; whatever else comes is
// handed to Python as it came.
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { READS = 256, READ_BYTES = 65536, ROOM_BYTES = 1 << 20, STAMPS = 256, REST_NS = 50000 };
enum { BEAT_NS = 20000000, AFTER_NS = 30000000, MOST_NS = 100000000 };
static const int TIMESTAMPNS = 35; // clock.py says why, and when a stamp is not believed
static const int64_t MOST_AHEAD_NS = 1000000, MOST_LAG_NS = 600000000000;

struct stream { // of one connection; Stream in compiled.py is its mirror
    int64_t number, last_ns, chars;
    int32_t fd, stamped;
    int32_t before_bytes, behind_bytes; // none before: every read is handed over
    const char *before, *behind;        // of the text, in an event
    const char *newest;                 // text, while each may hold the one before; those that do are handed over
    int64_t newest_bytes;
    int64_t stamps_ns[STAMPS];
};

struct handed { // what Python must look at: `bytes` of data, or a negative errno
    int64_t number, stamp_ns, now_ns, offset, bytes;
};

struct batch { // Batch in compiled.py is its mirror
    int32_t counted, unstamped, handed, timer;
    int64_t looked_ns, heard_ns, due_ns, late_us;
    int64_t lags_us[READS];
    struct handed reads[READS];
    char data[ROOM_BYTES];
};

static int64_t nanoseconds(const struct timespec *time) { return time->tv_sec * 1000000000LL + time->tv_nsec; }

static int64_t monotonic_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return nanoseconds(&time);
}

static void ring_at(struct batch *batch, int64_t due_ns) {
    struct itimerspec due = {.it_value = {due_ns / 1000000000, due_ns % 1000000000}};
    batch->due_ns = due_ns;
    timerfd_settime(batch->timer, TFD_TIMER_ABSTIME, &due, NULL);
}

// From now on a timer makes the poller ready where nothing else does, so that looked_ns is never long ago; 0 or an errno.
int begin(int poller, struct batch *batch) {
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.ptr = NULL};
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (timer < 0) return errno;
    if (epoll_ctl(poller, EPOLL_CTL_ADD, timer, &event)) {
        int code = errno;
        close(timer);
        return code;
    }
    batch->timer = timer;
    batch->looked_ns = batch->heard_ns = monotonic_ns();
    ring_at(batch, batch->looked_ns + BEAT_NS);
    return 0;
}

// The characters of the text where data is one HTTP chunk with one event that is as before but for its text, and that
// does not hold the newest one and more; else 0.
static int plain_text(const struct stream *stream, const char *data, int bytes) {
    static const char open[] = "\r\ndata: ", close[] = "\n\n\r\n";
    const int opened = sizeof open - 1, closed = sizeof close - 1;
    int at = 0, said = 0;
    for (; at < bytes && at < 6 && data[at] != '\r'; at++) {
        char digit = data[at];
        if (digit >= '0' && digit <= '9') said = said * 16 + digit - '0';
        else if (digit >= 'a' && digit <= 'f') said = said * 16 + digit - 'a' + 10;
        else if (digit >= 'A' && digit <= 'F') said = said * 16 + digit - 'A' + 10;
        else return 0;
    }
    int before = at + opened, text = before + stream->before_bytes;
    int behind = bytes - closed - stream->behind_bytes;
    if (text >= behind || said != bytes - at - 4 || memcmp(data + at, open, opened) ||
        memcmp(data + before, stream->before, (size_t)stream->before_bytes) ||
        memcmp(data + behind, stream->behind, (size_t)stream->behind_bytes) ||
        memcmp(data + bytes - closed, close, closed))
        return 0;
    for (int i = text; i < behind; i++)
        if (data[i] < 0x20 || data[i] > 0x7e || data[i] == '"' || data[i] == '\\') return 0;
    int newest = (int)stream->newest_bytes;
    return newest && behind - text > newest && !memcmp(data + text, stream->newest, (size_t)newest) ? 0 : behind - text;
}

// Edges, since a level would be looked at once more after each read.
static int look_at(int poller, int how, struct stream *stream) {
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.ptr = stream};
    return epoll_ctl(poller, how, stream->fd, &event) ? errno : 0;
}

// Add a connection's socket to those that drain() reads; 0 or an errno.
int watch(int poller, struct stream *stream) { return look_at(poller, EPOLL_CTL_ADD, stream); }

// Read the socket once; how many bytes there were.
static int64_t read_once(struct stream *stream, int64_t offset_ns, struct batch *batch, int *used) {
    union { char bytes[64]; struct cmsghdr aligned; } control;
    struct iovec where = {batch->data + *used, READ_BYTES};
    struct msghdr message = {.msg_iov = &where, .msg_iovlen = 1, .msg_control = &control,
                             .msg_controllen = sizeof control};
    ssize_t got = recvmsg(stream->fd, &message, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
    int64_t bytes = got < 0 ? -errno : got;
    int64_t now_ns = monotonic_ns(), stamp_ns = 0;
    struct cmsghdr *said = got < 0 ? NULL : CMSG_FIRSTHDR(&message);
    if (said && said->cmsg_level == SOL_SOCKET && said->cmsg_type == TIMESTAMPNS) {
        struct timespec time;
        memcpy(&time, CMSG_DATA(said), sizeof time);
        stamp_ns = nanoseconds(&time) - offset_ns;
        if (stamp_ns > now_ns + MOST_AHEAD_NS || stamp_ns < now_ns - MOST_LAG_NS) stamp_ns = 0;
    }
    int text = stream->before_bytes && stream->stamped < STAMPS ? plain_text(stream, where.iov_base, (int)bytes) : 0;
    if (!text) {
        batch->reads[batch->handed++] = (struct handed){stream->number, stamp_ns, now_ns, *used, bytes};
        if (bytes > 0) *used += (int)bytes;
        return bytes;
    }
    stream->last_ns = now_ns;
    stream->chars += text;
    stream->newest_bytes = 0; // it is a part of its own, so the next ones are
    stream->stamps_ns[stream->stamped++] = stamp_ns ? stamp_ns : now_ns;
    if (stamp_ns) batch->lags_us[batch->counted - batch->unstamped] = (now_ns - stamp_ns) / 1000;
    else batch->unstamped++;
    batch->counted++;
    return bytes;
}

// Read from each socket that has something, and again while more comes and Python need not look at anything; READS
// reads at most. In a burst it rests so many times, that more may come in meanwhile: what wakes this process for each
// event costs more than the event. offset_ns is CLOCK_REALTIME - CLOCK_MONOTONIC.
//
// All that had come by looked_ns has been read. late_us is how late the timer was, or -1 where it did not ring: while
// tokens come it waits longer than most engines between their steps, since to be woken costs more than to set it; in a
// silence as long again as that has lasted, so that what comes then was unwatched for half of it, or MOST_NS: to be woken
// for nothing costs CPU, too.
void drain(int poller, int64_t offset_ns, int rests, struct batch *batch) {
    struct epoll_event ready[READS];
    int used = 0, all = 1;
    int64_t began_ns = monotonic_ns();
    batch->counted = batch->unstamped = batch->handed = 0;
    batch->late_us = batch->timer < 0 || began_ns < batch->due_ns ? -1 : (began_ns - batch->due_ns) / 1000;
    if (batch->timer >= 0 && batch->late_us >= 0) {
        int64_t silent_ns = began_ns - batch->heard_ns;
        ring_at(batch, began_ns + (silent_ns < BEAT_NS ? BEAT_NS : silent_ns > MOST_NS ? MOST_NS : silent_ns));
    } else if (batch->timer >= 0 && (began_ns > batch->due_ns - BEAT_NS || began_ns < batch->due_ns - AFTER_NS))
        ring_at(batch, began_ns + AFTER_NS);
    while (!batch->handed && batch->counted < READS) {
        int found = epoll_wait(poller, ready, READS - batch->counted, 0);
        if (found <= 0) {
            if (batch->counted < 2 || rests-- <= 0) break;
            nanosleep(&(struct timespec){.tv_nsec = REST_NS}, NULL);
            continue;
        }
        for (int i = 0; i < found; i++) {
            struct stream *stream = ready[i].data.ptr;
            if (!stream) continue; // the timer
            int counted = batch->counted, room = used + READ_BYTES <= ROOM_BYTES;
            int emptied = room && read_once(stream, offset_ns, batch, &used) < READ_BYTES;
            all &= emptied;
            // Whatever is not plainly one text and all there was is looked at again, as a level would be: an end that
            // came with the text makes no edge of its own.
            if (!emptied || batch->counted == counted || ready[i].events != EPOLLIN)
                look_at(poller, EPOLL_CTL_MOD, stream);
        }
    }
    if (batch->counted + batch->handed) batch->heard_ns = began_ns;
    if (all && batch->counted + batch->handed < READS) batch->looked_ns = began_ns;
}
