/* append FILE GROUP_BYTES GROUPS: appends groups of bytes to a new file of reserved space, fdatasync after each; prints the seconds. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SEGMENT (64LL << 20)

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "append FILE GROUP_BYTES GROUPS\n");
        return 2;
    }
    size_t bytes = strtoull(argv[2], NULL, 10);
    long groups = strtol(argv[3], NULL, 10);
    int file = open(argv[1], O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
    char *group = malloc(bytes);
    if (file < 0 || group == NULL) {
        perror(argv[1]);
        return 1;
    }
    memset(group, 'x', bytes);
    long long reserved = 0, written = 0;
    double begin = now();
    for (long i = 0; i < groups; i++) {
        while (written + (long long)bytes > reserved) {
            if (posix_fallocate(file, reserved, SEGMENT) != 0) {
                fprintf(stderr, "no space\n");
                return 1;
            }
            reserved += SEGMENT;
        }
        size_t done = 0;
        while (done < bytes) {
            ssize_t count = write(file, group + done, bytes - done);
            if (count < 0) {
                perror("write");
                return 1;
            }
            done += (size_t)count;
        }
        written += (long long)bytes;
        if (fdatasync(file) != 0) {
            perror("fdatasync");
            return 1;
        }
    }
    printf("%.9f\n", now() - begin);
    unlink(argv[1]);
    return 0;
}
