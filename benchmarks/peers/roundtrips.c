/* One byte there, one byte back, over one TCP connection, as often as it goes: transactions/s.
 *
 * usage: roundtrips PORT                       (answers, until it is killed)
 *        roundtrips PORT ADDRESS SECONDS       (asks, and prints how many a second were answered)
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static void at_once(int stream) {
    int on = 1;
    if (setsockopt(stream, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0)
        err(1, "TCP_NODELAY");
}

static void answer(int listener) {
    char byte;
    for (;;) {
        int stream = accept(listener, NULL, NULL);
        if (stream < 0)
            err(1, "accept");
        at_once(stream);
        while (read(stream, &byte, 1) == 1 && write(stream, &byte, 1) == 1)
            continue;
        close(stream);
    }
}

static double ask(int stream, double seconds) {
    char byte = 'x';
    double start = now();
    long count = 0;
    at_once(stream);
    while (now() - start < seconds) {
        if (write(stream, &byte, 1) != 1 || read(stream, &byte, 1) != 1)
            errx(1, "the connection ended");
        count++;
    }
    return count / (now() - start);
}

int main(int count, char **words) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    int on = 1, stream = socket(AF_INET, SOCK_STREAM, 0);
    if (count != 2 && count != 4)
        errx(2, "usage: roundtrips PORT [ADDRESS SECONDS]");
    address.sin_port = htons(atoi(words[1]));
    if (count == 2) {
        setsockopt(stream, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        if (bind(stream, (struct sockaddr *)&address, sizeof address) < 0 || listen(stream, 1) < 0)
            err(1, "listen");
        answer(stream);
    }
    inet_aton(words[2], &address.sin_addr);
    if (connect(stream, (struct sockaddr *)&address, sizeof address) < 0)
        err(1, "%s", words[2]);
    printf("%.1f\n", ask(stream, atof(words[3])));
}
