# Writes the files of FILES (name=path, separated by commas) as C arrays to OUT, so that the program
# needs none of them at run time.
string(REPLACE "," ";" entries "${FILES}")
set(arrays "")
set(table "")
foreach(entry IN LISTS entries)
  string(REGEX MATCH "^([^=]+)=(.+)$" unused "${entry}")
  set(name ${CMAKE_MATCH_1})
  set(path ${CMAKE_MATCH_2})
  file(READ ${path} hex HEX)
  string(LENGTH "${hex}" n_digits)
  math(EXPR n_bytes "${n_digits} / 2")
  string(REGEX REPLACE "(................................)" "\\1\n" hex "${hex}")
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
  string(APPEND arrays "static const unsigned char text_${name}[] = {\n${bytes}0x00};\n")
  string(APPEND table "    {\"${name}\", (const char *)text_${name}, ${n_bytes}},\n")
endforeach()
file(WRITE ${OUT} "#include \"annotate/builtin.h\"\n\n${arrays}\n"
  "const emc_builtin emc_builtins[] = {\n${table}    {NULL, NULL, 0},\n};\n")
