/* The limit of TUN and UDP on this machine: forwards packets between the two, with no encryption.
 *
 * It uses every help of the kernel that meshd uses (virtio header, TSO and USO, UDP GSO and GRO),
 * so what meshd loses against it is what meshd itself costs.
 *
 * usage: nullfwd IFACE LOCAL_IP PEER_IP PORT      (IFACE is made here; addresses and MTU are yours)
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#define UDP_GRO 104
#endif
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

enum { SEGMENT = 1440, BATCH = 16, BUFFER = 7 << 20, SUPER_PACKET = 65000 };

static int open_tun(const char *name) {
    struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR};
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK);
    strncpy(request.ifr_name, name, IFNAMSIZ - 1);
    if (fd < 0 || ioctl(fd, TUNSETIFF, &request) < 0)
        err(1, "%s", name);
    if (ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_USO4 | TUN_F_USO6) < 0)
        err(1, "offloads");
    return fd;
}

static int open_udp(const char *local, const char *peer, int port) {
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0), size = BUFFER, on = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
    setsockopt(fd, IPPROTO_UDP, UDP_GRO, &on, sizeof on);
    inet_aton(local, &address.sin_addr);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0)
        err(1, "bind");
    inet_aton(peer, &address.sin_addr);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
        err(1, "connect");
    return fd;
}

static void send_segments(int udp, char *data, size_t size) {
    char control[CMSG_SPACE(sizeof(unsigned short))] = {0};
    struct iovec part = {data, size};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (size > SEGMENT) {
        message.msg_control = control;
        message.msg_controllen = sizeof control;
        struct cmsghdr *head = CMSG_FIRSTHDR(&message);
        head->cmsg_level = IPPROTO_UDP;
        head->cmsg_type = UDP_SEGMENT;
        head->cmsg_len = CMSG_LEN(sizeof(unsigned short));
        *(unsigned short *)CMSG_DATA(head) = SEGMENT;
    }
    sendmsg(udp, &message, 0);
}

int main(int count, char **words) {
    static char buffer[70000];
    if (count != 5)
        errx(2, "usage: nullfwd IFACE LOCAL_IP PEER_IP PORT");
    int tun = open_tun(words[1]), udp = open_udp(words[2], words[3], atoi(words[4]));
    struct pollfd waiting[2] = {{tun, POLLIN, 0}, {udp, POLLIN, 0}};
    for (;;) {
        ssize_t size;
        poll(waiting, 2, -1);
        if (waiting[0].revents)
            for (int i = 0; i < BATCH && (size = read(tun, buffer, SUPER_PACKET)) > 0; i++)
                send_segments(udp, buffer, size);
        if (waiting[1].revents)
            for (int i = 0; i < BATCH && (size = recv(udp, buffer, sizeof buffer, 0)) > 0; i++)
                if (write(tun, buffer, size) < 0)
                    continue; /* the kernel refused this packet; the next may pass */
    }
}
