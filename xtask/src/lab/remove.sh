# Removes one lab, whatever is left of it. Argument: the lab's id. Waits for the end of standard input first:
# a lab's guardian holds a pipe from the owner, so this runs when the owner is done or dead, for whatever reason.
id=$1
case $id in bl[0-9a-f]*n[0-9]*) ;; *) exit 2 ;; esac
cat >/dev/null

# Every process inside the lab's namespaces was started by the lab. A few rounds, because a parent may fork once more.
for _ in 1 2 3 4 5; do
    left=
    for path in /run/netns/"$id"-*; do
        [ -e "$path" ] && left="$left $(ip netns pids "${path##*/}" 2>/dev/null | tr '\n' ' ')"
    done
    # shellcheck disable=SC2086 # a list of numbers
    set -- $left
    [ $# -eq 0 ] && break
    kill -9 "$@" 2>/dev/null
    sleep 0.05
done
rm -rf "/sys/fs/bpf/$id"
for path in /run/netns/"$id"-*; do
    [ -e "$path" ] && ip netns delete "${path##*/}"
done
rm -rf "/tmp/balancer-lab/$id" "/run/balancer-lab/$id"
exit 0
