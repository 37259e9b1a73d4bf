# A program that does nothing, and tells the benchmark that it runs.
echo "loaded $$" > "$1"
exec sleep 1000
