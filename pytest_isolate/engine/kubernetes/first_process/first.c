/*
 * first: the first process of a container in a pod. Kubernetes has no "created, not started" and no stop, kill, pause
 * or start of a container; this process holds the pod, and runs the service's program as its child on a word.
 *
 *   first hold NAME FILE FOLDER... be the first process; the file has the program's words, each ended by a zero byte;
 *                                  folders that are not there are made
 *   first ask NAME VERB...         state, wait, kill, pause, resume, end, stop SIGNAL SECONDS; the answer is a line
 *   first start NAME               a table of hosts comes by stdin (see read_counted); then the program is started
 *   first hosts                    only the table
 *   first run NAME                 a command beside the program, only while that runs; variables and words come by stdin,
 *                                  for those of an exec stand in its address; the first line of stderr is the answer
 *   first unpack FOLDER            a tar archive comes by stdin
 *   first pack PATH                a tar archive of a file or folder goes to stdout
 *   first stat PATH                kind, mode, owner, size of it, and where a link leads to
 *   first cat PATH...              files, one after the other; one that is missing is left out
 *   first touch PATH               an empty file that all may write to
 *
 * Where PYTEST_ISOLATE_USER names a user (NAME or UID, with :GROUP or not), this process is root, which may copy files
 * everywhere, and the program and the commands beside it are that user's.
 *
 * It runs in any image (FROM scratch, too) and as any user, so it needs no file, no library and no right. The two ends
 * meet at an abstract socket, which only processes of the same pod reach, and only the same user and root may speak.
 * `make first-process` builds it; pytest_isolate/engine/kubernetes/first_control.py speaks to it.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MOST_CLIENTS 256
#define MOST_TEXT 4096
#define MOST_COMMANDS 1024
#define NOT_FOUND 127
#define NOT_EXECUTABLE 126
#define REFUSED 125

extern char **environ;

/* -- texts --------------------------------------------------------------------------------------------------------- */

struct text {
    char bytes[MOST_TEXT];
    size_t length;
};

static void add(struct text *text, const char *word) {
    size_t length = strlen(word);
    if (length > MOST_TEXT - 1 - text->length) length = MOST_TEXT - 1 - text->length;
    memcpy(text->bytes + text->length, word, length);
    text->length += length;
    text->bytes[text->length] = 0;
}

static void add_number(struct text *text, long long number, unsigned base, int least_digits) {
    char digits[32];
    int at = sizeof digits - 1;
    unsigned long long rest = number < 0 ? -(unsigned long long)number : (unsigned long long)number;
    digits[at] = 0;
    do digits[--at] = '0' + rest % base;
    while ((rest /= base) || (int)sizeof digits - 1 - at < least_digits);
    if (number < 0) digits[--at] = '-';
    add(text, digits + at);
}

static void add_pair(struct text *text, const char *key, long long number) {
    add(text, key);
    add_number(text, number, 10, 1);
}

static void add_moment(struct text *text, const char *key, const struct timespec *moment) {
    add_pair(text, key, moment->tv_sec);
    add(text, ".");
    add_number(text, moment->tv_nsec, 10, 9);
}

static int write_all(int fd, const void *bytes, size_t length) {
    for (size_t done = 0; done < length;) {
        ssize_t count = write(fd, (const char *)bytes + done, length - done);
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0) return -1;
        done += count;
    }
    return 0;
}

static void complain(const char *what, const char *why) {
    struct text text = {.length = 0};
    add(&text, what);
    add(&text, ": ");
    add(&text, why);
    add(&text, "\n");
    write_all(2, text.bytes, text.length);
}

static int fail(const char *what) {
    complain(what, strerror(errno));
    return 1;
}

static ssize_t read_some(int fd, void *bytes, size_t most) {
    ssize_t count;
    do count = read(fd, bytes, most);
    while (count < 0 && errno == EINTR);
    return count;
}

/* As many bytes as asked for, or as there are before the end. */
static ssize_t read_all(int fd, void *bytes, size_t wanted) {
    size_t done = 0;
    while (done < wanted) {
        ssize_t count = read_some(fd, (char *)bytes + done, wanted - done);
        if (count < 0) return -1;
        if (!count) break;
        done += count;
    }
    return done;
}

/* A text of stdin behind its length and a line's end. The end of stdin says nothing: older servers do not pass it on.
 * Not a byte more is read: what follows is the command's. */
static char *read_counted(size_t *length) {
    char byte, *bytes;
    for (*length = 0; read_all(0, &byte, 1) == 1 && byte != '\n';) {
        if (byte < '0' || byte > '9' || *length > 1 << 24) return NULL;
        *length = *length * 10 + (byte - '0');
    }
    bytes = malloc(*length + 1);
    if (!bytes || read_all(0, bytes, *length) != (ssize_t)*length) return NULL;
    bytes[*length] = 0;
    return bytes;
}

/* The words in bytes that each end with a zero byte, and a null behind them. */
static char **split_words(char *bytes, size_t length) {
    size_t count = 0, at = 0;
    for (size_t i = 0; i < length; i++) count += !bytes[i];
    char **words = malloc((count + 1) * sizeof *words);
    if (!words) return NULL;
    for (size_t i = 0; i < count; i++) {
        words[i] = bytes + at;
        at += strlen(bytes + at) + 1;
    }
    words[count] = NULL;
    return words;
}

/* -- the user of the program -------------------------------------------------------------------------------------- */

#define MOST_GROUPS 256
#define USER "PYTEST_ISOLATE_USER"

static char *take_user(void) {
    char *given = getenv(USER), *user = given ? strdup(given) : NULL;
    unsetenv(USER);
    return user;
}

/* The lines of a file such as /etc/passwd, as one text that may be written to; empty where there is none. */
static char *read_table(const char *path) {
    struct stat facts;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    char *bytes = fd < 0 || fstat(fd, &facts) ? NULL : malloc(facts.st_size + 1);
    ssize_t count = bytes ? read_all(fd, bytes, facts.st_size) : 0;
    if (fd >= 0) close(fd);
    if (!bytes) return strdup("");
    bytes[count < 0 ? 0 : count] = 0;
    return bytes;
}

/* The next line of a table, cut into its fields; those that it has not are empty. */
static int next_fields(char **table, char *fields[7]) {
    char *line = *table, *end = strchrnul(line, '\n');
    if (!*line) return 0;
    *table = *end ? end + 1 : end;
    *end = 0;
    for (int i = 0; i < 7; i++) {
        char *colon = strchrnul(line, ':');
        fields[i] = line;
        line = *colon ? colon + 1 : colon;
        *colon = 0;
    }
    return 1;
}

static int is_number(const char *text) { return *text && !text[strspn(text, "0123456789")]; }

static int has_member(const char *members, const char *name) {
    size_t length = strlen(name);
    for (; length && *members; members = strchrnul(members, ',') + (*strchrnul(members, ',') == ','))
        if (!strncmp(members, name, length) && (!members[length] || members[length] == ',')) return 1;
    return 0;
}

static int is_named(char *fields[7], const char *given) {
    return is_number(given) ? atol(fields[2]) == atol(given) : !strcmp(fields[0], given);
}

/* Be this user from now on, with its groups and home. */
static int become_user(char *given) {
    static gid_t groups[MOST_GROUPS];
    char *fields[7], *group = strchr(given, ':'), *account = "", *home = "/";
    char *users = read_table("/etc/passwd"), *names = read_table("/etc/group");
    int count = 0, is_found = 0;
    gid_t gid = 0;
    if (group) *group++ = 0;
    uid_t uid = atol(given);
    while (!is_found && next_fields(&users, fields))
        if (is_named(fields, given)) {
            is_found = 1;
            uid = atol(fields[2]), gid = atol(fields[3]), account = fields[0], home = fields[5];
        }
    if (!is_found && !is_number(given)) return complain(given, "no such user in /etc/passwd of the image"), -1;
    is_found = !group || is_number(group);
    if (group && is_found) gid = atol(group);
    while (next_fields(&names, fields))
        if (group && is_named(fields, group)) gid = atol(fields[2]), is_found = 1;
        else if (!group && count < MOST_GROUPS && has_member(fields[3], account)) groups[count++] = atol(fields[2]);
    if (!is_found) return complain(group, "no such group in /etc/group of the image"), -1;
    char *now = getenv("HOME");
    if (!now || !strcmp(now, "/root")) setenv("HOME", home, 1);
    if (!setgroups(count, groups) && !setgid(gid) && !setuid(uid)) return 0;
    return complain(given, strerror(errno)), -1;
}

/* -- the socket between both ends ---------------------------------------------------------------------------------- */

static socklen_t name_address(struct sockaddr_un *address, const char *name) {
    size_t length = strnlen(name, sizeof address->sun_path - 1);
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    memcpy(address->sun_path + 1, name, length);
    return offsetof(struct sockaddr_un, sun_path) + 1 + length;
}

static int dial(const char *name) {
    struct sockaddr_un address;
    socklen_t length = name_address(&address, name);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, length)) {
        close(fd);
        return -1;
    }
    return fd;
}

/* The answer to a question; a null where there is no first process, or it ends. */
static char *ask(const char *name, char **words, struct text *answer) {
    struct text question = {.length = 0};
    int fd = dial(name);
    for (; *words; words++) {
        add(&question, *words);
        add(&question, " ");
    }
    answer->length = 0;
    if (fd < 0 || send(fd, question.bytes, question.length, MSG_NOSIGNAL) < 0) return NULL;
    ssize_t count;
    do count = recv(fd, answer->bytes, MOST_TEXT - 1, 0);
    while (count < 0 && errno == EINTR);
    if (count <= 0) return NULL;
    answer->length = count;
    answer->bytes[count] = 0;
    return answer->bytes;
}

static int ask_and_tell(const char *name, char **words) {
    struct text answer;
    if (!ask(name, words, &answer)) return fail("no first process answers");
    write_all(1, answer.bytes, answer.length);
    return strncmp(answer.bytes, "ok ", 3) != 0;
}

/* -- the first process: one child, and those who ask --------------------------------------------------------------- */

enum waits { FOR_NOTHING, FOR_END };

struct client {
    int fd;
    pid_t pid;
    enum waits waits;
    int may_kill; /* it waits for a stop, and kills when its time is up */
    struct timespec deadline;
};

static struct {
    char **argv, *user;
    pid_t child; /* 0 where none runs */
    int is_paused, ends_with_child, starts, exit_code, exit_signal, is_out_of_memory;
    long long kills; /* by the kernel, for want of memory, before this start */
    struct timespec started, ended;
    struct client clients[MOST_CLIENTS];
    int client_count;
    pid_t commands[MOST_COMMANDS]; /* the last that were to be run beside the program */
    unsigned command_count;
} first;

static struct timespec now(clockid_t clock) {
    struct timespec moment;
    clock_gettime(clock, &moment);
    return moment;
}

static void pause_ms(int ms) {
    struct timespec duration = {.tv_nsec = ms * 1000000L};
    nanosleep(&duration, NULL);
}

/* Processes that the kernel has killed because this container's memory was full (cgroups(7), both versions). */
static long long count_kills(void) {
    static const char *const files[] = {"/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"};
    char bytes[1024];
    for (int i = 0; i < 2; i++) {
        int fd = open(files[i], O_RDONLY | O_CLOEXEC);
        if (fd < 0) continue;
        ssize_t count = read_all(fd, bytes, sizeof bytes - 1);
        close(fd);
        bytes[count > 0 ? count : 0] = 0;
        char *found = strstr(bytes, "oom_kill ");
        if (found) return atoll(found + 9);
    }
    return 0;
}

static int is_command(pid_t pid) {
    for (int i = 0; i < MOST_COMMANDS; i++)
        if (first.commands[i] == pid) return 1;
    return 0;
}

/* State of a process as proc(5) has it, X for one that is gone, and the parent: 0 for one that came from outside. */
static char state_of(const char *pid, pid_t *parent) {
    char path[64] = "/proc/", bytes[512];
    strcat(strncat(path, pid, 20), "/stat");
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 'X';
    ssize_t count = read_all(fd, bytes, sizeof bytes - 1);
    close(fd);
    bytes[count > 0 ? count : 0] = 0;
    char *name_end = strrchr(bytes, ')');
    if (!name_end || strlen(name_end) < 5) return 'X';
    *parent = atoi(name_end + 4);
    return name_end[2];
}

/* Send a signal to every process of the container but this one; return how many were not yet as it makes them. Processes
 * that came from outside ask questions, or are about to, and are left alone, but for those that became commands.
 * Elsewhere than in a container of its own, only the program's group is meant. */
static int signal_all(int number) {
    int count = 0;
    pid_t parent = 0;
    DIR *folder = getpid() == 1 ? opendir("/proc") : NULL;
    if (!folder) {
        if (first.child) kill(-first.child, number);
        return 0;
    }
    for (struct dirent *entry; (entry = readdir(folder));) {
        pid_t pid = atoi(entry->d_name);
        if (pid <= 1) continue;
        char state = state_of(entry->d_name, &parent);
        if (state == 'Z' || state == 'X' || (number == SIGSTOP && (state == 'T' || state == 't'))) continue;
        if (!parent && !is_command(pid)) continue;
        if (!kill(pid, number)) count++;
    }
    closedir(folder);
    return count;
}

/* The same until it has reached those that were forked meanwhile. */
static void signal_until_done(int number) {
    for (int round = 0; round < 100 && signal_all(number); round++) pause_ms(2);
}

static void reply(struct client *client, const char *word) {
    struct text text = {.length = 0};
    add(&text, word);
    send(client->fd, text.bytes, text.length, MSG_NOSIGNAL | MSG_DONTWAIT);
    client->waits = FOR_NOTHING;
    client->may_kill = 0;
}

static void describe(struct text *text) {
    struct timespec moment = now(CLOCK_REALTIME);
    text->length = 0;
    add(text, "ok state=");
    add(text, first.child ? first.is_paused ? "paused" : "running" : first.starts ? "ended" : "created");
    add_pair(text, " starts=", first.starts);
    add_pair(text, " code=", first.exit_code);
    add_pair(text, " signal=", first.exit_signal);
    add_pair(text, " oom=", first.is_out_of_memory);
    add_moment(text, " started=", &first.started);
    add_moment(text, " ended=", &first.ended);
    add_moment(text, " now=", &moment);
    add(text, "\n");
}

static void reply_state(struct client *client) {
    struct text text;
    describe(&text);
    reply(client, text.bytes);
}

/* Wait until the output was read by what writes the log: an end is not told before the last words. */
static void wait_for_readers(void) {
    for (int fd = 1; fd <= 2; fd++)
        for (int unread = 0, ms = 0; !ioctl(fd, FIONREAD, &unread) && unread > 0 && ms < 1000; ms++) pause_ms(1);
}

static void note_end(int status) {
    first.exit_signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    first.exit_code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    first.is_out_of_memory = first.exit_signal == SIGKILL && count_kills() > first.kills;
    first.ended = now(CLOCK_REALTIME);
    /* What it has left behind ends with it, as with any container. */
    signal_until_done(SIGKILL);
    first.child = 0;
    first.is_paused = 0;
    wait_for_readers();
}

/* Reap what has ended: the program, and orphans of it, whose parent this process has become. */
static void reap(void) {
    int status, has_ended = 0, end_status = 0;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        if (pid == first.child) {
            has_ended = 1;
            end_status = status;
        }
    if (!has_ended) return;
    note_end(end_status);
    for (int i = 0; i < first.client_count; i++)
        if (first.clients[i].waits == FOR_END) reply_state(&first.clients[i]);
    while (waitpid(-1, &status, WNOHANG) > 0)
        ;
    if (first.ends_with_child) _exit(first.exit_code);
}

static void become_program(int report) {
    sigset_t none;
    struct sigaction usual = {.sa_handler = SIG_DFL};
    sigemptyset(&none);
    for (int number = 1; number < 65; number++) sigaction(number, &usual, NULL);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setsid();
    if (first.user && become_user(first.user)) _exit(NOT_EXECUTABLE);
    execvp(first.argv[0], first.argv);
    int why = errno;
    write_all(report, &why, sizeof why);
    _exit(why == ENOENT ? NOT_FOUND : NOT_EXECUTABLE);
}

static const char *why_not_executed(int error) {
    return error == ENOENT ? "executable file not found in $PATH" : strerror(error);
}

/* Start the program, and reply. */
static void start(struct client *client) {
    int report[2], error = 0;
    if (first.child) return reply_state(client);
    if (pipe2(report, O_CLOEXEC)) return reply(client, "no pipe could be made\n");
    first.kills = count_kills();
    first.started = now(CLOCK_REALTIME);
    first.is_out_of_memory = 0;
    pid_t pid = fork();
    if (!pid) become_program(report[1]);
    close(report[1]);
    if (pid < 0) {
        close(report[0]);
        return reply(client, "no process could be forked\n");
    }
    if (read_all(report[0], &error, sizeof error) == sizeof error) {
        struct text text = {.length = 0};
        waitpid(pid, NULL, 0);
        first.exit_code = error == ENOENT ? NOT_FOUND : NOT_EXECUTABLE;
        if (!first.starts) first.started = (struct timespec){0};
        add_pair(&text, "code=", first.exit_code);
        add(&text, " exec: \"");
        add(&text, first.argv[0]);
        add(&text, "\": ");
        add(&text, why_not_executed(error));
        add(&text, "\n");
        reply(client, text.bytes);
    } else {
        first.child = pid;
        first.starts++;
        first.exit_code = first.exit_signal = 0;
        reply_state(client);
    }
    close(report[0]);
}

static void resume(void) {
    signal_all(SIGCONT);
    first.is_paused = 0;
}

static void stop(struct client *client, const char *words) {
    char *rest;
    int number = strtol(words, &rest, 10);
    long seconds = strtol(rest, NULL, 10);
    if (!first.child) return reply_state(client);
    client->waits = FOR_END;
    client->may_kill = 1;
    client->deadline = now(CLOCK_MONOTONIC);
    client->deadline.tv_sec += seconds;
    if (first.is_paused) resume();
    kill(first.child, number);
}

static void kill_program(struct client *client) {
    if (!first.child) return reply_state(client);
    client->waits = FOR_END;
    kill(first.child, SIGKILL);
}

static void set_paused(struct client *client, int is_paused) {
    if (!first.child) return reply(client, "not running\n");
    if (first.is_paused == is_paused) return reply(client, is_paused ? "paused already\n" : "not paused\n");
    if (is_paused) {
        signal_until_done(SIGSTOP);
        first.is_paused = 1;
    } else
        resume();
    reply_state(client);
}

static void obey(struct client *client, const char *words) {
    if (!strncmp(words, "state ", 6)) reply_state(client);
    else if (!strncmp(words, "run ", 4)) {
        first.commands[first.command_count++ % MOST_COMMANDS] = client->pid;
        reply_state(client);
    }
    else if (!strncmp(words, "start ", 6)) start(client);
    else if (!strncmp(words, "stop ", 5)) stop(client, words + 5);
    else if (!strncmp(words, "kill ", 5)) kill_program(client);
    else if (!strncmp(words, "pause ", 6)) set_paused(client, 1);
    else if (!strncmp(words, "resume ", 7)) set_paused(client, 0);
    else if (!strncmp(words, "wait ", 5) && first.child) client->waits = FOR_END;
    else if (!strncmp(words, "wait ", 5)) reply_state(client);
    else if (!strncmp(words, "end ", 4)) {
        reply_state(client);
        first.ends_with_child = 1;
        if (!first.child) _exit(first.exit_code);
        if (first.is_paused) resume();
        kill(first.child, SIGTERM);
    } else
        reply(client, "no such word\n");
}

static void greet(int listener) {
    struct ucred who;
    socklen_t length = sizeof who;
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) return;
    int is_welcome = !getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &length) && (who.uid == geteuid() || !who.uid);
    if (!is_welcome || first.client_count == MOST_CLIENTS) {
        close(fd);
        return;
    }
    first.clients[first.client_count++] = (struct client){.fd = fd, .pid = who.pid};
}

static void hear(int number) {
    char words[MOST_TEXT];
    struct client *client = &first.clients[number];
    ssize_t count = recv(client->fd, words, sizeof words - 1, 0);
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (count <= 0) {
        close(client->fd);
        *client = first.clients[--first.client_count];
        return;
    }
    words[count] = 0;
    obey(client, words);
}

/* Milliseconds until the next stop's time is up, and the kill where it is; -1 for no such. */
static int next_deadline_ms(void) {
    struct timespec moment = now(CLOCK_MONOTONIC);
    long long least = -1;
    for (int i = 0; i < first.client_count; i++) {
        struct client *client = &first.clients[i];
        if (!client->may_kill) continue;
        long long ms = (client->deadline.tv_sec - moment.tv_sec) * 1000LL +
                       (client->deadline.tv_nsec - moment.tv_nsec) / 1000000;
        if (ms <= 0) {
            client->may_kill = 0;
            if (first.child) kill(first.child, SIGKILL);
        } else if (least < 0 || ms < least)
            least = ms + 1;
    }
    return least > INT_MAX ? INT_MAX : (int)least;
}

/* A signal of the node's, as when the pod is deleted: it is the program's, and ends this process after it. */
static void forward(int number) {
    first.ends_with_child = 1;
    if (!first.child) _exit(first.starts ? first.exit_code : 128 + number);
    if (first.is_paused) resume();
    kill(first.child, number);
}

static void hear_signals(int signals) {
    struct signalfd_siginfo heard;
    while (read(signals, &heard, sizeof heard) == sizeof heard)
        if (heard.ssi_signo == SIGTERM || heard.ssi_signo == SIGINT || heard.ssi_signo == SIGQUIT)
            forward(heard.ssi_signo);
    reap();
}

static int open_signals(void) {
    sigset_t heard;
    sigemptyset(&heard);
    sigaddset(&heard, SIGCHLD);
    sigaddset(&heard, SIGTERM);
    sigaddset(&heard, SIGINT);
    sigaddset(&heard, SIGQUIT);
    sigprocmask(SIG_BLOCK, &heard, NULL);
    struct sigaction children = {.sa_handler = SIG_DFL, .sa_flags = SA_NOCLDSTOP}, none = {.sa_handler = SIG_IGN};
    sigaction(SIGCHLD, &children, NULL);
    sigaction(SIGHUP, &none, NULL);
    sigaction(SIGPIPE, &none, NULL);
    return signalfd(-1, &heard, SFD_CLOEXEC | SFD_NONBLOCK);
}

static int read_argv(const char *path) {
    struct stat facts;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &facts)) return -1;
    char *bytes = malloc(facts.st_size + 1);
    if (!bytes || read_all(fd, bytes, facts.st_size) != facts.st_size) return -1;
    close(fd);
    first.argv = split_words(bytes, facts.st_size);
    if (first.argv && first.argv[0]) return 0;
    errno = EINVAL;
    return -1;
}

static int make_parents(char *path);

static int hold(const char *name, const char *path, char **folders) {
    struct sockaddr_un address;
    socklen_t length = name_address(&address, name);
    struct pollfd polled[MOST_CLIENTS + 2];
    first.user = take_user();
    if (read_argv(path)) return fail(path);
    /* Without the right to it, the program finds none, and says so. */
    for (; *folders; folders++)
        if (!make_parents(*folders)) mkdir(*folders, 0755);
    int signals = open_signals(), listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (signals < 0 || listener < 0 || bind(listener, (struct sockaddr *)&address, length) || listen(listener, 64))
        return fail("the first process cannot listen");
    for (;;) {
        polled[0] = (struct pollfd){.fd = signals, .events = POLLIN};
        polled[1] = (struct pollfd){.fd = listener, .events = POLLIN};
        int count = first.client_count;
        for (int i = 0; i < count; i++) polled[i + 2] = (struct pollfd){.fd = first.clients[i].fd, .events = POLLIN};
        if (poll(polled, count + 2, next_deadline_ms()) < 0 && errno != EINTR) return fail("poll");
        /* Backwards: one that goes makes room for the last one, which has had its turn. */
        for (int i = count - 1; i >= 0; i--)
            if (polled[i + 2].revents) hear(i);
        if (polled[0].revents) hear_signals(signals);
        if (polled[1].revents) greet(listener);
    }
}

/* -- what needs no first process: files, hosts, commands ----------------------------------------------------------- */

static int write_hosts(void) {
    size_t length;
    char *table = read_counted(&length);
    if (!table) return fail("a table of hosts");
    if (!length) return 0;
    int fd = open("/etc/hosts", O_WRONLY | O_TRUNC | O_CLOEXEC);
    if (fd < 0 || write_all(fd, table, length) || close(fd)) return fail("/etc/hosts");
    return 0;
}

static char **read_words(void) {
    size_t length;
    char *bytes = read_counted(&length);
    return bytes ? split_words(bytes, length) : NULL;
}

static int run(const char *name) {
    static char *question[] = {"run", NULL};
    struct text answer;
    char **variables = read_words(), **argv = variables ? read_words() : NULL;
    if (!argv || !argv[0]) return complain("first", "no command came"), 1;
    if (!ask(name, question, &answer)) return fail("no first process answers");
    write_all(2, answer.bytes, answer.length);
    if (!strstr(answer.bytes, "state=running ")) return REFUSED;
    char *user = take_user();
    for (; *variables; variables++) putenv(*variables);
    if (user && become_user(user)) return NOT_EXECUTABLE;
    execvp(argv[0], argv);
    int error = errno;
    struct text text = {.length = 0};
    add(&text, "exec: \"");
    add(&text, argv[0]);
    add(&text, "\"");
    complain(text.bytes, why_not_executed(error));
    return error == ENOENT ? NOT_FOUND : NOT_EXECUTABLE;
}

static int tell_path(const char *path) {
    struct stat facts;
    struct text text = {.length = 0};
    char target[PATH_MAX];
    if (lstat(path, &facts)) {
        int error = errno;
        complain(path, strerror(error));
        return error == ENOENT || error == ENOTDIR ? 2 : 1;
    }
    add(&text, S_ISDIR(facts.st_mode) ? "d" : S_ISLNK(facts.st_mode) ? "l" : S_ISREG(facts.st_mode) ? "f" : "o");
    add(&text, " ");
    add_number(&text, facts.st_mode & 07777, 8, 4);
    add_pair(&text, " ", facts.st_uid);
    add_pair(&text, " ", facts.st_gid);
    add_pair(&text, " ", facts.st_size);
    add(&text, "\n");
    if (S_ISLNK(facts.st_mode)) {
        if (!realpath(path, target)) {
            ssize_t count = readlink(path, target, sizeof target - 1);
            target[count > 0 ? count : 0] = 0;
        }
        add(&text, target);
        add(&text, "\n");
    }
    return write_all(1, text.bytes, text.length) ? fail("stdout") : 0;
}

static int show_files(char **paths) {
    static char bytes[1 << 16];
    for (; *paths; paths++) {
        int fd = open(*paths, O_RDONLY | O_CLOEXEC);
        if (fd < 0) continue;
        for (ssize_t count; (count = read_some(fd, bytes, sizeof bytes)) > 0;)
            if (write_all(1, bytes, count)) return fail("stdout");
        close(fd);
    }
    return 0;
}

static int touch(const char *path) {
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    /* The mode once more: the process has a mask. */
    return fd < 0 || fchmod(fd, 0666) ? fail(path) : 0;
}

/* -- tar (POSIX.1-1988 ustar, pax headers of POSIX.1-2001, long names of GNU) --------------------------------------- */

#define BLOCK 512

struct header {
    char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8], type, target[100], magic[8];
    char user[32], group[32], major[8], minor[8], prefix[155], unused[12];
};

struct entry {
    char name[PATH_MAX], target[PATH_MAX], type;
    long long mode, uid, gid, size, mtime, major, minor;
    int has_name, has_target, has_size, has_uid, has_gid; /* from a header before it, which counts more */
};

static char piece[1 << 16];

static long long parse_number(const char *field, size_t length) {
    long long number = 0;
    if (field[0] & 0x80) { /* base 256, of GNU */
        number = field[0] & 0x3f;
        for (size_t i = 1; i < length; i++) number = (long long)((unsigned long long)number << 8 | (unsigned char)field[i]);
        return number;
    }
    size_t i = 0;
    while (i < length && field[i] == ' ') i++;
    for (; i < length && field[i] >= '0' && field[i] <= '7'; i++) number = number * 8 + (field[i] - '0');
    return number;
}

static long long checksum_of(const struct header *header) {
    const unsigned char *bytes = (const unsigned char *)header;
    long long sum = 0;
    for (size_t i = 0; i < BLOCK; i++)
        sum += i >= offsetof(struct header, checksum) && i < offsetof(struct header, type) ? ' ' : bytes[i];
    return sum;
}

static void copy_field(char *to, size_t room, const char *from, size_t length) {
    length = strnlen(from, length);
    if (length > room - 1) length = room - 1;
    memcpy(to, from, length);
    to[length] = 0;
}

static int complain_of_archive(const char *why) {
    complain("the archive cannot be unpacked", why);
    return -1;
}

static int skip(long long size) {
    for (size = (size + BLOCK - 1) / BLOCK * BLOCK; size > 0;) {
        ssize_t count = read_all(0, piece, size < (long long)sizeof piece ? size : (long long)sizeof piece);
        if (count <= 0) return complain_of_archive("it ends in the middle of a file");
        size -= count;
    }
    return 0;
}

/* The text of an entry that is about the next one. */
static char *read_text(long long size) {
    char *text = size >= 0 && size < 1 << 20 ? malloc((size + BLOCK) / BLOCK * BLOCK + 1) : NULL;
    long long padded = (size + BLOCK - 1) / BLOCK * BLOCK;
    if (!text || read_all(0, text, padded) != padded) {
        complain_of_archive("a long name is not whole");
        return NULL;
    }
    text[size] = 0;
    return text;
}

/* Records such as `30 path=a/long/name\n`. */
static void read_pax(struct entry *entry, char *text, long long size) {
    for (long long at = 0; at < size;) {
        char *key;
        long long length = strtoll(text + at, &key, 10);
        if (length <= 0 || at + length > size || *key != ' ') return;
        text[at + length - 1] = 0;
        char *value = strchr(++key, '=');
        at += length;
        if (!value) continue;
        *value++ = 0;
        if (!strcmp(key, "path")) copy_field(entry->name, PATH_MAX, value, PATH_MAX), entry->has_name = 1;
        else if (!strcmp(key, "linkpath")) copy_field(entry->target, PATH_MAX, value, PATH_MAX), entry->has_target = 1;
        else if (!strcmp(key, "size")) entry->size = atoll(value), entry->has_size = 1;
        else if (!strcmp(key, "uid")) entry->uid = atoll(value), entry->has_uid = 1;
        else if (!strcmp(key, "gid")) entry->gid = atoll(value), entry->has_gid = 1;
    }
}

static void read_header(struct entry *entry, const struct header *header) {
    entry->type = header->type;
    entry->mode = parse_number(header->mode, sizeof header->mode) & 07777;
    entry->mtime = parse_number(header->mtime, sizeof header->mtime);
    entry->major = parse_number(header->major, sizeof header->major);
    entry->minor = parse_number(header->minor, sizeof header->minor);
    if (!entry->has_uid) entry->uid = parse_number(header->uid, sizeof header->uid);
    if (!entry->has_gid) entry->gid = parse_number(header->gid, sizeof header->gid);
    if (!entry->has_size) entry->size = parse_number(header->size, sizeof header->size);
    if (!entry->has_target) copy_field(entry->target, PATH_MAX, header->target, sizeof header->target);
    if (entry->has_name) return;
    size_t length = 0;
    /* GNU's own headers have times where a prefix would be. */
    if (!memcmp(header->magic, "ustar\0", 6) && header->prefix[0]) {
        copy_field(entry->name, sizeof header->prefix + 1, header->prefix, sizeof header->prefix);
        length = strlen(entry->name);
        entry->name[length++] = '/';
    }
    copy_field(entry->name + length, PATH_MAX - length, header->name, sizeof header->name);
}

/* Read headers up to that of a file; 0 at the archive's end, -1 where there is none. */
static int next_entry(struct entry *entry) {
    struct header header;
    memset(entry, 0, offsetof(struct entry, type));
    entry->has_name = entry->has_target = entry->has_size = entry->has_uid = entry->has_gid = 0;
    for (;;) {
        ssize_t count = read_all(0, &header, BLOCK);
        if (count == 0) return 0;
        if (count != BLOCK) return complain_of_archive("it ends in the middle of a header");
        if (!header.name[0] && checksum_of(&header) == 8 * ' ') return 0;
        if (parse_number(header.checksum, sizeof header.checksum) != checksum_of(&header))
            return complain_of_archive("it is no tar archive, or damaged");
        if (!strchr("xgLK", header.type) || !header.type) break;
        long long size = parse_number(header.size, sizeof header.size);
        char *text = read_text(size);
        if (!text) return -1;
        if (header.type == 'x') read_pax(entry, text, size);
        if (header.type == 'L') copy_field(entry->name, PATH_MAX, text, size), entry->has_name = 1;
        if (header.type == 'K') copy_field(entry->target, PATH_MAX, text, size), entry->has_target = 1;
        free(text);
    }
    read_header(entry, &header);
    return 1;
}

static int leads_out(const char *path) {
    for (const char *at = path; *at;) {
        size_t length = strcspn(at, "/");
        if (length == 2 && at[0] == '.' && at[1] == '.') return 1;
        at += length + (at[length] == '/');
    }
    return 0;
}

/* Folders that an archive does not name are made for all to read. */
static int make_parents(char *path) {
    for (char *at = path; (at = strchr(at, '/')); at++) {
        *at = 0;
        int is_made = !*path || !mkdir(path, 0755) || errno == EEXIST;
        *at = '/';
        if (!is_made) return -1;
    }
    return 0;
}

static int copy_content(const char *path, long long size) {
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) return -1;
    for (long long rest = size; rest > 0;) {
        ssize_t count = read_all(0, piece, rest < (long long)sizeof piece ? rest : (long long)sizeof piece);
        if (count <= 0) errno = EPIPE;
        if (count <= 0 || write_all(fd, piece, count)) {
            int error = errno;
            close(fd);
            errno = error;
            return -1;
        }
        rest -= count;
    }
    if (close(fd)) return -1;
    char padding[BLOCK];
    size_t odd = size % BLOCK;
    return odd && read_all(0, padding, BLOCK - odd) != (ssize_t)(BLOCK - odd) ? -1 : 0;
}

static int make_folder(const char *path) {
    struct stat facts;
    if (!mkdir(path, 0755)) return 0;
    if (errno != EEXIST) return -1;
    /* A link to a folder is one: /var/run of many images. */
    if (!stat(path, &facts) && S_ISDIR(facts.st_mode)) return 0;
    return unlink(path) ? -1 : mkdir(path, 0755);
}

static int make_entry(struct entry *entry, char *path) {
    if (entry->type == '5') return make_folder(path);
    if (unlink(path) && errno != ENOENT) return -1;
    switch (entry->type) {
    case '1': return link(entry->target, path);
    case '2': return symlink(entry->target, path);
    case '3': return mknod(path, S_IFCHR | 0600, makedev(entry->major, entry->minor));
    case '4': return mknod(path, S_IFBLK | 0600, makedev(entry->major, entry->minor));
    case '6': return mkfifo(path, 0600);
    default: return copy_content(path, entry->size);
    }
}

/* Owners are given where that is allowed, which is to root; where root has lost the right to it, files are root's. */
static int dress(const struct entry *entry, const char *path) {
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = entry->mtime}};
    if (entry->type == '1') return 0;
    if (!geteuid() && lchown(path, entry->uid, entry->gid) && errno != EPERM) return -1;
    if (entry->type == '2') return 0;
    if (chmod(path, entry->mode)) return errno == EPERM && entry->type == '5' ? 0 : -1;
    if (entry->type != '5') utimensat(AT_FDCWD, path, times, 0);
    return 0;
}

static int unpack(const char *folder) {
    static struct entry entry;
    char path[PATH_MAX];
    int found;
    if (chdir(folder)) return fail(folder);
    umask(0);
    while ((found = next_entry(&entry)) > 0) {
        char *name = entry.name;
        while (*name == '/' || (name[0] == '.' && name[1] == '/')) name++;
        for (size_t end = strlen(name); end && name[end - 1] == '/'; end--) name[end - 1] = 0;
        int has_content = !entry.type || !strchr("123456", entry.type);
        if (!*name || !strcmp(name, ".")) {
            if (has_content && skip(entry.size)) return 1;
            continue;
        }
        if (leads_out(name)) return complain("the archive cannot be unpacked", "a name in it leads out of the folder"), 1;
        char *target = entry.target;
        /* A hard link is to a file of the archive, and so below the folder. */
        while (entry.type == '1' && *target == '/') memmove(target, target + 1, strlen(target));
        copy_field(path, sizeof path, name, sizeof path);
        if (make_parents(path) || make_entry(&entry, path) || dress(&entry, path)) return fail(path);
    }
    return found < 0;
}

static void write_number(char *field, size_t length, long long number) {
    if (number < 0) number = 0;
    if (number >> 3 * (length - 1)) { /* base 256 */
        for (size_t i = length; i--; number >>= 8) field[i] = (char)(number & 0xff);
        field[0] |= (char)0x80;
        return;
    }
    for (size_t i = length - 1; i--; number >>= 3) field[i] = '0' + (number & 7);
}

static int write_block(struct header *header) {
    memcpy(header->magic, "ustar  ", 8); /* GNU's: its long names and numbers may follow */
    write_number(header->checksum, 7, checksum_of(header));
    header->checksum[7] = ' ';
    return write_all(1, header, BLOCK);
}

static int write_padding(long long size) {
    static const char zeros[BLOCK];
    return size % BLOCK ? write_all(1, zeros, BLOCK - size % BLOCK) : 0;
}

static int write_long(char type, const char *text) {
    struct header header = {.type = type};
    long long size = strlen(text) + 1;
    memcpy(header.name, "././@LongLink", 13);
    write_number(header.size, sizeof header.size, size);
    return write_block(&header) || write_all(1, text, size) || write_padding(size) ? -1 : 0;
}

/* A file that grows while it is read is cut, one that shrinks is filled with zeros: the header says how long it is. */
static int write_content(int fd, long long size) {
    for (long long rest = size; rest > 0;) {
        size_t most = rest < (long long)sizeof piece ? rest : (long long)sizeof piece;
        ssize_t count = read_some(fd, piece, most);
        if (count <= 0) memset(piece, 0, count = most);
        if (write_all(1, piece, count)) return -1;
        rest -= count;
    }
    return write_padding(size);
}

static int write_entry(const char *path, const char *name, const struct stat *facts) {
    struct header header = {.type = '0'};
    char target[PATH_MAX];
    int is_folder = S_ISDIR(facts->st_mode), is_link = S_ISLNK(facts->st_mode);
    long long size = S_ISREG(facts->st_mode) ? facts->st_size : 0;
    size_t length = strlen(name);
    int fd = size ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (size && fd < 0) return errno == ENOENT ? 0 : -1; /* it has gone meanwhile */
    if (is_link) {
        ssize_t count = readlink(path, target, sizeof target - 1);
        if (count < 0) return -1;
        target[count] = 0;
        if (count > 100 && write_long('K', target)) return -1;
        memcpy(header.target, target, count < 100 ? count : 100);
    }
    if (length > 100 && write_long('L', name)) return -1;
    memcpy(header.name, name, length < 100 ? length : 100);
    header.type = is_folder ? '5' : is_link ? '2' : S_ISFIFO(facts->st_mode) ? '6' : S_ISCHR(facts->st_mode) ? '3'
                : S_ISBLK(facts->st_mode) ? '4' : '0';
    write_number(header.mode, sizeof header.mode, facts->st_mode & 07777);
    write_number(header.uid, sizeof header.uid, facts->st_uid);
    write_number(header.gid, sizeof header.gid, facts->st_gid);
    write_number(header.size, sizeof header.size, size);
    write_number(header.mtime, sizeof header.mtime, facts->st_mtime);
    write_number(header.major, sizeof header.major, major(facts->st_rdev));
    write_number(header.minor, sizeof header.minor, minor(facts->st_rdev));
    int is_written = !write_block(&header) && (!size || !write_content(fd, size));
    if (fd >= 0) close(fd);
    return is_written ? 0 : -1;
}

static int pack_all(char *path, char *name) {
    struct stat facts;
    size_t path_length = strlen(path), name_length = strlen(name);
    if (lstat(path, &facts)) return errno == ENOENT ? 0 : fail(path); /* it has gone meanwhile */
    if (S_ISSOCK(facts.st_mode)) return 0;
    if (S_ISDIR(facts.st_mode)) strcat(name, "/");
    if (write_entry(path, name, &facts)) return fail(path);
    if (!S_ISDIR(facts.st_mode)) return 0;
    DIR *folder = opendir(path);
    if (!folder) return fail(path);
    for (struct dirent *entry; (entry = readdir(folder));) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        if (path_length + strlen(entry->d_name) + 2 > PATH_MAX) return complain(path, "the path is too long"), 1;
        path[path_length] = '/';
        strcpy(path + path_length + 1, entry->d_name);
        name[name_length] = '/';
        strcpy(name + name_length + 1, entry->d_name);
        if (pack_all(path, name)) return 1;
        path[path_length] = 0;
    }
    closedir(folder);
    return 0;
}

static int pack(const char *given) {
    static char path[PATH_MAX + 1], name[PATH_MAX + 1], zeros[2 * BLOCK];
    struct stat facts;
    copy_field(path, PATH_MAX, given, PATH_MAX);
    for (size_t end = strlen(path); end > 1 && path[end - 1] == '/'; end--) path[end - 1] = 0;
    char *last = strrchr(path, '/');
    strcpy(name, last && last[1] ? last + 1 : ".");
    if (lstat(path, &facts)) return fail(path), errno == ENOENT ? 2 : 1;
    return pack_all(path, name) || write_all(1, zeros, sizeof zeros);
}

int main(int count, char **words) {
    static char *start_words[] = {"start", NULL};
    const char *verb = count > 1 ? words[1] : "";
    if (!strcmp(verb, "hold") && count > 3) return hold(words[2], words[3], words + 4);
    if (!strcmp(verb, "ask") && count > 3) return ask_and_tell(words[2], words + 3);
    if (!strcmp(verb, "start") && count == 3) return write_hosts() || ask_and_tell(words[2], start_words);
    if (!strcmp(verb, "hosts") && count == 2) return write_hosts();
    if (!strcmp(verb, "run") && count == 3) return run(words[2]);
    if (!strcmp(verb, "unpack") && count == 3) return unpack(words[2]);
    if (!strcmp(verb, "pack") && count == 3) return pack(words[2]);
    if (!strcmp(verb, "stat") && count == 3) return tell_path(words[2]);
    if (!strcmp(verb, "cat") && count > 2) return show_files(words + 2);
    if (!strcmp(verb, "touch") && count == 3) return touch(words[2]);
    complain("first", "no such verb, or too few words; see first.c");
    return 2;
}
